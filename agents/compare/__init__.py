"""Controllers against each other: equal budgets, many seeds, every evaluation on record.

A comparison is a directory. ``comparison.json`` says what is compared (`agents.compare.directory`),
``records/`` holds the raw record of every run (`agents.compare.records`), and everything else in
it is written anew from these at any time (`agents.compare.summary.summarise`).
"""
