"""What tests share: real processes (`processes`) and a raw client of the wire (`wire`)."""
