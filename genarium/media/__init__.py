"""Pictures and sound: read from strangers' files, brought into a model's form, drawn, and written.

decoding.py      files of any kind that anybody may have sent, into pixels and samples
pictures.py      pictures in a model's form; sheets, heat maps and code maps; PNGs that remember their request
sounds.py        recordings in a model's form; files that remember their request
spectrogram.py   sound as a picture
metadata.py      what a result's file remembers of how it was made
"""
