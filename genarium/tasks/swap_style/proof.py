"""What the proof before publishing compares of a swap of style: the images, or the sound."""

from genarium.hub.proof_call import Proof

PROOF = Proof(("images", "audios"), lambda number: {"output_type": "np"})
