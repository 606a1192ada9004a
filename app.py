"""Genarium in the browser: `python app.py`, which is what a Space starts. The same as `genarium app`."""

from genarium.serve import main

if __name__ == "__main__":
    main()
