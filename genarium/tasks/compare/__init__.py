"""Compare: the same request to several checkpoints, side by side.

comparison.py  what is compared, and the requests that it stands for
running.py     the requests, one after another; the rows that come of them
quality.py     PSNR and SSIM of one picture
agreement.py   what the models say about the same pictures: consensus and rank correlation
sheet.py       a comparison as one PNG, and as a .zip
bundled.py     the measured figures of the checkpoints, and a chart of them
vote.py        two pictures without names: which is better?
"""
