"""What the proof before publishing compares of a reconstruction: the images, or the sound."""

from genarium.hub.proof_call import Proof

PROOF = Proof(("images", "audios"), lambda number: {"output_type": "np"})
