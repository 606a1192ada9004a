"""The lock under which networks are built in this process.

accelerate builds a network without memory for its weights by replacing `torch.nn.Module.register_parameter`, for all
threads at once. What another thread builds meanwhile gets parameters on the device "meta", and of two threads that do it
at once the later one may leave the replacement in place for good. Fresh weights are drawn by torch's global generator,
which is one for all threads too.
"""

import threading

BUILDING = threading.RLock()
