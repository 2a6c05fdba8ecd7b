"""One stage of training, from checked data to a bundle: what stages 1 and 2 share, with the hooks where they differ."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader, Dataset

from napari_wsss.models import Bundle, find_encoder, load_bundle, save_bundle
from tiling.errors import DataError
from training.data import EpochSampler, EvaluationSet, MaskedImage, TrainingData, balance_weights
from training.loop.fit import fit_trainee, load_best, seed_everything
from training.loop.reports import SamplePages
from training.loop.run_folder import RunFolder
from training.loop.trainee import Trainee
from training.settings import (
    BundleTexts,
    LearningRateSchedule,
    LoopOptions,
    StageSettings,
    to_dict,
)

__all__ = ["Stage"]

_log = logging.getLogger("training")


@dataclass(frozen=True)
class Stage(ABC):
    """What is trained, on what, and how; subclasses are the two stages.

    Attributes
    ----------
    data : TrainingData
    settings : StageSettings
    options : LoopOptions
    texts : BundleTexts
        What people read about the bundle, and how it is stored.
    weights : str or None
        Initial weights: ``imagenet``, ``none``, a file or a bundle; None: what the backbone has.
    """

    program: ClassVar[str]

    data: TrainingData
    settings: StageSettings
    options: LoopOptions
    texts: BundleTexts
    weights: str | None

    # -- what subclasses say ------------------------------------------------------------------------------------------

    @property
    def drop_last(self) -> bool:
        """Whether an incomplete last batch is left out."""
        return True

    @property
    def facts(self) -> Mapping[str, Any]:
        """JSON-ready facts that decide the result, beside those that every stage has."""
        return {}

    @property
    def taught(self) -> Sequence[MaskedImage]:
        """Training patches with masks, for the page of samples where there is no val."""
        return ()

    @property
    def misfit(self) -> str | None:
        """Why the settings do not fit the data; None when they do."""
        return None

    @abstractmethod
    def samples(self) -> Dataset[Any]:
        """Return the training samples."""

    @abstractmethod
    def trainee(self, schedule: LearningRateSchedule) -> Trainee:
        """Build the network with its initial weights, ready to train."""

    @abstractmethod
    def finished(
        self, trainee: Trainee, val: DataLoader[Any] | None, row: Mapping[str, float]
    ) -> dict[str, Any]:
        """Return what the bundle holds (arguments of ``save_bundle``); ``row``: the log of the chosen epoch."""

    # -- the run ------------------------------------------------------------------------------------------------------

    def run(self, folder: RunFolder, restart: bool = False) -> Bundle | None:
        """Train (or continue) and write the bundle.

        Returns
        -------
        Bundle or None
            None on every device but the first, which alone writes.

        Raises
        ------
        DataError, TrainingError, BundleError
        """
        data, settings, options = self.data, self.settings, self.options
        identity = {
            "program": self.program,
            "settings": to_dict(settings),
            "schema": data.schema.to_dict(),
            "seed": options.seed,
            "precision": options.precision,
            "weights": self.weights,
            "data": data.digest,
            "patches": len(data.train),
            **self.facts,
        }
        first = getattr(rank_zero_only, "rank", 0) in (None, 0)
        if first:
            folder.open(identity, restart)
        if folder.is_complete:
            _log.info("%s is complete already", folder.bundle)
            return load_bundle(folder.bundle)
        batches, rest = divmod(len(data.train), settings.batch_size)
        if self.drop_last and not batches:
            raise DataError(
                f"{data.root / 'train'} holds {len(data.train)} patches, less than one batch of "
                f"{settings.batch_size}; lower --batch-size."
            )
        if self.misfit is not None:
            raise DataError(self.misfit)
        seed_everything(options.seed)
        optimiser = settings.optimiser
        schedule = LearningRateSchedule(
            optimiser.schedule,
            settings.epochs,
            batches + (rest > 0 and not self.drop_last),
            optimiser.lr_step,
            optimiser.warmup_epochs,
        )
        trainee = self.trainee(schedule)
        trainee.batch_names = [p.path.name for p in data.train]
        val, pages = None, None
        if shown := data.val or self.taught:
            windows = EvaluationSet(shown, len(data.schema), data.side)
            pages = SamplePages(data.schema, windows, options.samples, "truth" if data.val else "taught")
            if data.val:
                val = DataLoader(windows, settings.batch_size, num_workers=options.workers)
        for remark in data.remarks:
            _log.warning(remark)
        _log.info(
            "%s: %s, %d patches, %d val images, %d epochs of %d steps",
            self.program,
            settings.backbone,
            len(data.train),
            len(data.val),
            settings.epochs,
            schedule.steps_per_epoch,
        )
        history = fit_trainee(trainee, self._loader(), val, folder, settings.epochs, options, pages)
        if not first:
            return None
        chosen = settings.epochs
        if settings.select != "last" and history.best_epoch is not None:
            load_best(trainee, folder)
            chosen = history.best_epoch
        else:
            trainee.network.load_state_dict(trainee.weights())
        row = next((r for r in history.rows if r["epoch"] == chosen), {})
        content = self.finished(trainee, val, row)
        bundle = save_bundle(
            folder.bundle,
            name=self.texts.name or folder.path.resolve().name,
            schema=data.schema,
            mpp=self.texts.mpp or 1.0,
            tile=data.side,
            description=self.texts.description,
            licence=self.texts.licence or self._encoder_card("licence"),
            training_data=self._training_data(),
            provenance={self.program: {**identity, "epoch": chosen}},
            dtype="float16" if self.texts.half else "float32",
            overwrite=True,
            **content,
        )
        gate = ", ".join(f"{t:g}" for t in bundle.gate.thresholds)
        _log.info("wrote %s (epoch %d, gate %s)", folder.bundle, chosen, gate)
        return bundle

    def _loader(self) -> DataLoader[Any]:
        data, settings, options = self.data, self.settings, self.options
        balance = balance_weights(data.train, settings.balance) if settings.balance else None
        return DataLoader(
            self.samples(),
            settings.batch_size,
            sampler=EpochSampler(len(data.train), options.seed, weights=balance),
            num_workers=options.workers,
            persistent_workers=options.workers > 0,
            drop_last=self.drop_last,
        )

    def _training_data(self) -> str:
        text = self.texts.training_data or f"{len(self.data.train)} patches with patch labels"
        card = self._encoder_card("card")
        return f"{text.rstrip('.')}. {card}" if card else text

    def _encoder_card(self, field: str) -> str:
        """Return what an encoder by name says about itself; empty for networks of our own."""
        recipe = find_encoder(self.settings.backbone)
        return "" if recipe is None else str(getattr(recipe, field))
