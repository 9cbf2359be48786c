"""What differs between the engines, as named facts; nothing above ``store.database`` knows which engine it is on."""
