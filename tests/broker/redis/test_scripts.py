import re
from hashlib import sha1
from pathlib import Path

import gateway.broker
from gateway.broker.redis.scripts import load_scripts

FOLDER = Path(gateway.broker.__file__).parent / "scripts"


def test_every_file_is_a_script_but_the_shared_part() -> None:
    assert set(load_scripts()) == {file.stem for file in FOLDER.glob("*.lua")} - {"session"}


def test_they_are_whole() -> None:
    for script in load_scripts().values():
        assert script.source.startswith("#!lua"), script.name
        assert "-- needs" not in script.source, script.name
        assert script.source.count("local function open(") <= 1
        assert script.sha == sha1(script.source.encode()).hexdigest()


def test_nothing_is_random_or_global() -> None:
    for file in FOLDER.glob("*.lua"):
        source = file.read_text()
        assert "math.random" not in source, "Redis seeds it the same for each call"
        assert not re.search(r"^\s*function ", source, re.MULTILINE), "a global"
