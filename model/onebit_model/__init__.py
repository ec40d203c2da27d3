"""What the model is: its configuration, packed file, texts, training and evaluation.

Modules that need torch (network, quantizers, trainer, export, ...) are imported only by the commands that train
or export; everything that serving touches does without it.
"""
