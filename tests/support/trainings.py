"""A training without folder or journal: one learner with a feed of its own."""

from mltbench.benchmark.training.execution import Execution
from mltbench.benchmark.training.feed import Feed
from mltbench.benchmark.training.learner import Learner


class Training:
    """Trains one experiment epoch by epoch."""

    def __init__(self, experiment, dataset, execution=None, **more):
        self.experiment, self.dataset = experiment, dataset
        self.learner = Learner(experiment, dataset, execution or Execution(), **more)
        self.feed = Feed(experiment, dataset, self.learner.network, self.learner.device)
        self.network = self.learner.network

    def epoch(self, number=0):
        """Train one epoch; return its mean loss and the images that it took."""
        self.feed.begin_epoch(number)
        for batch in self.feed.batches():
            self.learner.learn(batch)
        loss = self.learner.end_epoch(self.feed)
        self.feed.end_epoch()
        return loss, self.feed.images

    def all_epochs(self):
        """Train to the end; return the mean loss of each epoch."""
        return [self.epoch(number)[0] for number in range(self.learner.training["schedule"]["epochs"])]

    def step(self, indices, draws):
        """Take a step on images by their indices, augmented by these uniform numbers; return the loss."""
        features = self.feed.features(indices, self.feed.prepare(draws))
        return self.learner.step(features, self.feed.data.targets(indices))
