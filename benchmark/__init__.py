"""How it is run: experiments, backbones, augmentation, trainer, metrics, tracking, plans."""
