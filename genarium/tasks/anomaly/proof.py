"""What the proof before publishing compares of anomaly scores: the scores."""

from genarium.hub.proof_call import Proof

PROOF = Proof(("scores",))
