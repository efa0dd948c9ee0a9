"""Programs for the other products' own environments; nothing here is imported."""
