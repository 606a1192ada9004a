"""Train: a family on a visitor's own pictures, on a page of its own.

desk.py      what the page asks, and what it is answered
news.py      how a visitor's sets and trainings stand
guests.py    the checkpoints that came of them, as guests of the runtime
shelf.py     the folders in which visitors keep their things
lane.py      who comes next, and when a process has taken too much
marked.py    the pictures that join a set later
wishes.py    how many data sets of the Hub a stranger may ask for
work.py      what such a process does
visitors.py  what the first page asks of all this
panel.py     the page, whose script is train.js
"""
