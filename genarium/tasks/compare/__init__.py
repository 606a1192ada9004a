"""Compare: the same request to several checkpoints, side by side.

comparison.py  what is compared, and the requests that it stands for
offer.py       what the page offers to compare: checkpoints, with their settings and classes
running.py     the requests, one after another; the rows that come of them
quality.py     PSNR and SSIM of one picture
agreement.py   what the models say about the same pictures: consensus and rank correlation
sheet.py       a comparison as one PNG, and as a .zip
bundled.py     the measured figures of the checkpoints, and a chart of them
vote.py        two pictures without names: which is better?
command.py, endpoints.py  the same for a shell and for programs
panel.py       the page: panel_question.py on its left, table.py on its right, panel_vote.py and panel_chart.py below
"""
