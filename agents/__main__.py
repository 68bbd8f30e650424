"""``python -m agents`` is ``nas-gym``."""

from agents.cli import main

if __name__ == "__main__":
    main()
