"""What stacks of restricted Boltzmann machines do with pictures: one machine, or a deep belief network of several.

The machines lie on top of each other: the hidden units of one are the visible units of the next. Only the top one is sampled by
Gibbs steps. The way up and down through the others is one pass (Hinton et al. 2006 sec. 4). For a single machine there is no
such way.

Papers:
    Hinton, Osindero, Teh: A Fast Learning Algorithm for Deep Belief Nets, 2006, https://doi.org/10.1162/neco.2006.18.7.1527
    Salakhutdinov, Murray: On the Quantitative Analysis of Deep Belief Networks, 2008,
        https://doi.org/10.1145/1390156.1390266 (binary pixels, likelihood, the bound of a stack)
    Besag: Statistical Analysis of Non-Lattice Data, 1975, https://doi.org/10.2307/2987782 (pseudo-likelihood)
    Nalisnick et al.: Do Deep Generative Models Know What They Don't Know?, 2019, https://arxiv.org/abs/1810.09136
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F

from pipelines.binarization import binarize, to_unit_range
from pipelines.boltzmann import BoltzmannMachine
from pipelines.family import Generators
from pipelines.film import Film, FilmOutput
from pipelines.gibbs import autocorrelation, autocorrelation_time, gibbs_step, independent_units
from pipelines.images import ImageFamilyMixin, ImagesOutput, task
from pipelines.random_rows import Draw, uniform_rows
from pipelines.typicality import typicality_score

Keep = Literal["everything", "left half", "right half", "top half", "bottom half"]
Passes = Annotated[int, {"minimum": 0, "maximum": 50, "step": 1}]
Temperature = Annotated[float, {"minimum": 0.1, "maximum": 2.0, "step": 0.05}]


@dataclass
class UnitsOutput(FilmOutput):
    """Images, their films, and `codes`: int64 [N, h, w], the hidden units, 1 where a unit is more likely on than off."""

    codes: torch.Tensor | None = None


def pass_up(machines: Sequence[BoltzmannMachine], v: torch.Tensor) -> torch.Tensor:
    """Return the means of the hidden units of the last machine, layer by layer: [N, D] in [0, 1] -> [N, H]."""
    for machine in machines:
        v = machine.hidden_means(machine.hidden_logits(v))
    return v


class BoltzmannTasksMixin(ImageFamilyMixin):
    """Tasks of a `DiffusionPipeline` that has `_machines`, from the pixels up. The last one has the class units, if any."""

    code_kind = "binary"
    likelihood_of = "binary"
    likelihood_kind = "estimate"  # log Z by annealed importance sampling

    @property
    @abstractmethod
    def _machines(self) -> Sequence[BoltzmannMachine]:
        """The machines, from the pixels up."""

    @property
    def _top(self) -> BoltzmannMachine:
        return self._machines[-1]

    # ---- from pixels to the top machine and back ----

    def _up(self, v: torch.Tensor) -> torch.Tensor:
        """Return the means of the top machine's visible units, layer by layer: [N, D] in [0, 1] -> [N, D_top]."""
        return pass_up(self._machines[:-1], v)

    def _down(self, u: torch.Tensor) -> torch.Tensor:
        """Return the means of the pixels, layer by layer: [N, D_top] in [0, 1] -> [N, D]."""
        for machine in reversed(self._machines[:-1]):
            u = machine.visible_logits(u).sigmoid()
        return u

    def _pictures(self, v: torch.Tensor) -> torch.Tensor:
        """Return pixels [N, D] in [0, 1] as pictures [N, C, S, S] in [-1, 1]."""
        size = self.config.sample_size
        return v.reshape(-1, self.config.channels, size, size) * 2 - 1

    def _one_hot(self, labels: torch.Tensor | None, number: int) -> torch.Tensor | None:
        """Return classes int64 [N] as one-hot float32 [N, K]; None without labels or class units."""
        if labels is None or not self._top.num_classes:
            return None
        return F.one_hot(labels, self._top.num_classes).float().expand(number, -1)

    def _likely_classes(self, u: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor | None:
        """Return the given classes, or where none is given the most likely ones; one-hot [N, K], None without class units."""
        if self._top.num_classes and labels is None:
            labels = self._top.class_free_energies(u).argmin(1)
        return self._one_hot(labels, len(u))

    # ---- generate ----

    @task(output=FilmOutput)
    def __call__(
        self,
        batch_size,
        generator,
        labels,
        report,
        num_inference_steps: Annotated[int, {"minimum": 1, "maximum": 2000, "step": 1}] = 200,
        start: Literal["annealed", "noise"] = "annealed",
        temperature: Temperature = 1.0,
        guidance_scale: Annotated[float, {"minimum": 0.0, "maximum": 5.0, "step": 0.1, "needs": "classes"}] = 2.0,
        pixels: Literal["probabilities", "binary"] = "probabilities",
    ):
        """Generate images by Gibbs sampling. The film shows each chain as it moves.

        Args:
            class_labels: int, list or int64 tensor [N], classes at which the class units are clamped; None: they are sampled with the rest.
            num_inference_steps: Gibbs steps; a chain that begins at noise needs hundreds to find a picture.
            start: "annealed" begins at independent pixels and turns the weights on over the first half of the steps, which reaches more kinds of pictures; "noise" begins at random pixels with all weights on, and shows how a chain finds its way and then stays where it is.
            temperature: Below 1 the chain keeps to the likeliest pictures and moves less; above 1 it roams.
            guidance_scale: Factor on the weights of a clamped class unit; 1 samples the model's own p(x | class), 0 ignores the class.
            pixels: What is shown: "probabilities" of the pixels in the last step, or the "binary" pixels drawn from them.
        """
        machine, draw = self._top, uniform_rows(batch_size, generator, self._execution_device)
        v, y = independent_units(machine, batch_size, draw)
        if start == "noise":
            v = (draw(machine.num_visible) < 0.5).float()
        clamped = self._one_hot(labels, batch_size)
        if clamped is not None:  # its weights times the scale, as they act on the hidden units
            y = machine.class_mean + guidance_scale * (clamped - machine.class_mean)
        warm = num_inference_steps // 2 if start == "annealed" else 0
        # one draw for the pixels of all frames, so that a preview changes nothing of what follows
        uniform = draw(self._machines[0].num_visible) if pixels == "binary" else None
        film, x = Film(num_inference_steps), v
        for i in range(num_inference_steps):
            part = min(1.0, (i + 1) / warm) if warm else 1.0
            v, y, p = gibbs_step(machine, v, y, draw, part / temperature, 1 - part, clamp_class=clamped is not None)
            if report or film.wants(i):
                x = self._pictures(self._shown(v, p, uniform))
                film.take(i, x)
            report(i, i, num_inference_steps, x)
        return x, film.fields()

    def _shown(self, v: torch.Tensor, p: torch.Tensor, uniform: torch.Tensor | None = None) -> torch.Tensor:
        """Return the pixels [N, D] of a state of the top machine: probabilities, or with numbers in [0, 1) binary ones."""
        if len(self._machines) == 1:
            return p if uniform is None else v
        p = self._down(v)
        return p if uniform is None else (uniform < p).float()

    # ---- reconstruct and interpolate ----

    @task(output=UnitsOutput)
    def reconstruct(
        self,
        x,
        labels,
        generator,
        report,
        keep: Keep = "everything",
        method: Literal["mean_field", "gibbs"] = "mean_field",
        num_inference_steps: Annotated[int, {"minimum": 1, "maximum": 500, "step": 1}] = 1,
        completion_steps: Annotated[int, {"minimum": 1, "maximum": 2000, "step": 1}] = 200,
        temperature: Temperature = 1.0,
    ):
        """Pass images up to the hidden units and down again; or keep a half of them and let the rest be completed.

        With `method` "gibbs" a chain begins at each image, and the film shows it move.

        Args:
            class_labels: int, list or int64 tensor [N], classes at which the class units are clamped; None: any.
            keep: What of the image stays; the rest is completed by Gibbs steps with this half clamped.
            method: "mean_field" passes probabilities; "gibbs" draws all units, so that the chain wanders off from the picture.
            num_inference_steps: Times up and down where everything is kept. More leads to what the model finds most natural.
            completion_steps: Gibbs steps where a half is kept.
            temperature: Of Gibbs steps. Below 1 the chain keeps to the likeliest pictures and moves less; above 1 it roams.
        """
        draw = uniform_rows(len(x), generator, self._execution_device)
        grey, known = to_unit_range(x), self._mask(keep)
        y = self._one_hot(labels, len(x))
        film = Film(completion_steps if keep != "everything" else num_inference_steps)
        if keep != "everything":
            v = self._complete(grey, known, y, draw, report, completion_steps, 1 / temperature, film)
        else:
            beta = 1 / temperature if method == "gibbs" else None
            v = self._passes(grey, y, draw, report, num_inference_steps, beta, film)
        units = self._unit_map(self._top.hidden_logits(self._up(v), y) > 0)
        return self._pictures(v), {"codes": units, **film.fields()}

    def _passes(self, v, y, draw: Draw, report, steps: int, beta: float | None, film: Film) -> torch.Tensor:
        """Go up and down several times, from pixels v [N, D] in [0, 1]; return probabilities of the pixels.

        Units are drawn at the inverse temperature `beta`, or where it is None, their probabilities are passed on.
        """
        machine, clamped = self._top, y is not None
        if beta is not None and machine.num_classes and not clamped:
            y = self._likely_classes(self._up(v), None)
        u = self._up(v)
        u = u if beta is None else (draw(u.shape[1]) < u).float()
        for i in range(steps):
            if beta is not None:
                u, y, p = gibbs_step(machine, u, y, draw, beta, clamp_class=clamped)
                v = self._shown(u, p)
            else:
                u = machine.visible_logits(machine.hidden_means(machine(u, y))).sigmoid()
                v = self._down(u)
            film.take(i, x := self._pictures(v))
            report(i, i, steps, x)
        return v

    def _complete(self, grey, known, y, draw: Draw, report, steps: int, beta: float, film: Film) -> torch.Tensor:
        """Draw what is not known [D] given the rest of `grey` [N, D]; the weights are turned on over the first half of the steps."""
        machine, clamped = self._top, y is not None
        clear = (draw(grey.shape[1]) < grey).float()  # the known half, as binary pixels
        missing = self._machines[0].base_visible_logits().sigmoid()
        v = torch.where(known, clear, (draw(grey.shape[1]) < missing).float())
        if machine.num_classes and not clamped:
            y = self._likely_classes(self._up(v), None)
        for i in range(steps):
            part = min(1.0, 2 * (i + 1) / steps)
            u = self._up(v)
            u = (draw(u.shape[1]) < u).float() if len(self._machines) > 1 else u
            u, y, p = gibbs_step(machine, u, y, draw, part * beta, 1 - part, clamp_class=clamped)
            p = self._shown(u, p)
            v = torch.where(known, clear, (draw(p.shape[1]) < p).float())
            film.take(i, x := self._pictures(torch.where(known, grey, p)))
            report(i, i, steps, x)
        return torch.where(known, grey, p)

    def _mask(self, keep: str) -> torch.Tensor:
        """Return which pixels are kept, bool [D]."""
        size = self.config.sample_size
        mask = torch.zeros(self.config.channels, size, size, dtype=torch.bool, device=self._execution_device)
        half = size // 2
        rows = {"top half": slice(0, half), "bottom half": slice(half, None)}.get(keep, slice(None))
        columns = {"left half": slice(0, half), "right half": slice(half, None)}.get(keep, slice(None))
        mask[:, rows, columns] = True
        return mask.flatten()

    def _unit_map(self, on: torch.Tensor) -> torch.Tensor:
        """Return hidden units bool [N, H] as maps int64 [N, h, w] with h w = H, as square as H allows."""
        number = on.shape[1]
        rows = max(n for n in range(1, math.isqrt(number) + 1) if number % n == 0)
        return on.long().reshape(len(on), rows, -1).cpu()

    @task
    def interpolate(self, a, b, num_frames, report, num_inference_steps: Passes = 0):
        """Interpolate between two images in the probabilities of the hidden units.

        Args:
            generator: not used: nothing here is random.
            num_inference_steps: Passes up and down that follow, which lead to what the model finds natural; with 0 the ends are the two reconstructions.
        """
        machine = self._top
        ends = [machine.hidden_means(machine(self._up(to_unit_range(image)))) for image in (a, b)]
        weights = torch.linspace(0, 1, num_frames, device=ends[0].device, dtype=ends[0].dtype)[:, None]
        h = torch.lerp(ends[0], ends[1], weights)
        total = num_inference_steps + 1
        for i in range(total):
            u = machine.visible_logits(h).sigmoid()
            x = self._pictures(self._down(u))
            h = machine.hidden_means(machine(u)) if i < num_inference_steps else h
            report(i, i, total, x)
        return x

    # ---- the code ----

    @property
    def code_shape(self) -> tuple[int, ...]:
        """(H,), the hidden units of the top machine."""
        return (self._top.num_hidden,)

    @task
    def encode(self, x, generator, labels):
        """Encode images as hidden units of the top machine, float32 [N, H] of 0 and 1.

        Args:
            generator: draws the units from their probabilities; None: 1 where a unit is more likely on than off.
            class_labels: int, list or int64 tensor [N], the classes of the images; None: any.
        """
        a = self._top(self._up(to_unit_range(x)), self._one_hot(labels, len(x)))
        if generator is None:
            return (a > 0).float()
        return self._top.sample_hidden(a, uniform_rows(len(x), generator, a.device)(a.shape[1]))

    @task
    def decode(self, codes):
        """Decode hidden units [N, H], 0 or 1 or probabilities, as images of the pixels' probabilities.

        Args:
            class_labels: not used: given the hidden units, the pixels do not depend on the class.
        """
        return self._pictures(self._down(self._top.visible_logits(codes).sigmoid()))

    @torch.no_grad()
    def receptive_fields(self, output_type: str = "pil", return_dict: bool = True) -> ImagesOutput | tuple:
        """Return the weights of each hidden unit of the top machine as a picture, H of them.

        White pixels turn the unit on, black ones off, and grey ones do not matter. Each picture has its own scale. Through the
        layers of a stack, weights are multiplied (Lee et al. 2008, https://papers.nips.cc/paper/3313).

        Args:
            output_type, return_dict: as in `__call__`.
        """
        fields = self._machines[0].weight.float()  # [D, H]
        for machine in self._machines[1:]:
            fields = fields @ machine.weight.float()
        fields = fields.T / fields.abs().amax(0).clamp(min=1e-8)[:, None]
        return self._images_output(self._pictures(fields / 2 + 0.5), output_type, return_dict)

    # ---- likelihood and anomaly ----

    def _free_energy(self, v: torch.Tensor, y: torch.Tensor | None, draw: Draw) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the free energy of binary pixels [N, D], and the top machine's visible units that were drawn on the way up.

        Of one machine this is F(v, y), exactly. Of a stack, -F - log Z is one sample of the lower bound
        E_q[log p(v, h) - log q(h | v)] with q the way up (Salakhutdinov and Murray 2008 eq. 20).
        """
        bound = torch.zeros(len(v), device=v.device, dtype=torch.float32)
        for machine in self._machines[:-1]:
            a = machine(v)
            h = machine.sample_hidden(a, draw(machine.num_hidden))
            log_p = -F.binary_cross_entropy_with_logits(machine.visible_logits(h), v, reduction="none").sum(1)
            log_q = -F.binary_cross_entropy_with_logits(a, h, reduction="none").sum(1)
            bound, v = bound + log_p - log_q, h
        return self._top.free_energy(v, y) - bound, v

    def _surprise(self, v: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Return -log p of each pixel given the others, [N, D] in nats: the exact conditional of one machine.

        Of a stack it is the cross-entropy of the pixel after a pass up and down.
        """
        if len(self._machines) > 1:
            u = self._up(v)
            u = self._top.visible_logits(self._top.hidden_means(self._top(u, self._one_hot(labels, len(v))))).sigmoid()
            return F.binary_cross_entropy(self._down(u).clamp(1e-6, 1 - 1e-6), v, reduction="none")
        y = self._likely_classes(v, labels)
        own = self._top.free_energy(v, y) if y is not None else self._top.free_energy(v)
        return F.softplus(own[:, None] - self._top.flipped_free_energies(v, y))

    def _features(self, x, labels, generator: Generators):
        """Return what the typicality score compares, float64 [N, 3]; how badly classes fit, [N] or None; and surprises [N, D]."""
        v, draw = binarize(x, generator), uniform_rows(len(x), generator, x.device)
        energy, u = self._free_energy(v, None, draw)
        surprise = self._surprise(v, labels)
        features = torch.stack([energy, surprise.sum(1), v.sum(1)], 1).cpu().double()
        mismatch = None
        if labels is not None:
            chances = self._top.class_free_energies(u).neg().log_softmax(1)
            mismatch = -chances.gather(1, labels[:, None])[:, 0].cpu().double()
        return features, mismatch, surprise

    @task
    def anomaly_score(
        self,
        x,
        labels,
        generator,
        report,
        score: Literal["typicality", "free_energy", "pseudo_likelihood"] = "typicality",
    ):
        """Measure how strange an image is to the model.

        The grey values are drawn as binary pixels first, as in the training. The free energy F is -log p + log Z, and log Z is
        the same for all images, so it is not needed (of a deep belief network F is a bound). A simple stranger can have a lower F
        than the data (Nalisnick et al. 2019). Typicality therefore is the Mahalanobis distance of F, of the pseudo-likelihood
        and of the number of white pixels from those of training images, in either direction.

        The maps show -log p of each pixel given all others: of an RBM its exact conditional, of a deep belief network what a pass
        up and down makes of it.

        Args:
            generator: of the binary pixels; None: seed 0 for each image.
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            score: "typicality" is high for images unlike the training images in either direction. "free_energy" is high for unlikely ones. "pseudo_likelihood" is the sum of the map.
        """
        features, mismatch, surprise = self._features(x, labels, generator)
        size = self.config.sample_size
        maps = surprise.reshape(len(x), -1, size, size).sum(1)
        report(0, 0, 1, x.float())
        if score == "pseudo_likelihood":
            return surprise.sum(1), maps, "nats"
        if score == "free_energy":
            extra = 0.0 if mismatch is None else mismatch  # F(v, y) = F(v) - log p(y | v)
            return (features[:, 0] + extra).float(), maps, "nats"
        return typicality_score(features, self.config.typicality, mismatch), maps, "Mahalanobis distance"

    @task
    def log_likelihood(
        self, x, generator, report, num_samples: Annotated[int, {"minimum": 1, "maximum": 1000, "step": 1}] = 1
    ):
        """Return log p of images whose pixels are drawn as black or white, in nats, with log Z as AIS estimated it in `fit`.

        Of a stack of machines it is a lower bound, the logarithm of the mean of p(v, h) / q(h | v) over samples of q.

        Args:
            generator: of the binary pixels. A test set keeps its pixels if image i always has the generator of the same seed.
            num_samples: Samples of the bound of a stack; of one machine nothing is sampled.

        Raises:
            ValueError: log Z is not known, because `fit` was not called.
        """
        if not self.config.log_partition:
            raise ValueError("log_likelihood: log Z is not known yet; call fit, or `train`, which does.")
        v, draw = binarize(x, generator), uniform_rows(len(x), generator, x.device)
        number = num_samples if len(self._machines) > 1 else 1
        energies = []
        for i in range(number):
            energies.append(self._free_energy(v, None, draw)[0])
            report(i, i, number, self._pictures(v))
        log_mean = torch.logsumexp(-torch.stack(energies), 0) - math.log(number)
        return log_mean - self.config.log_partition["log_z"]

    @torch.no_grad()
    def mixing(self, num_chains: int = 32, num_steps: int = 1000, burn_in: int = 500, seed: int = 0) -> dict[str, Any]:
        """Measure how slowly Gibbs chains forget where they were, from the probabilities of the pixels.

        Args:
            num_chains: side by side, from annealed starts.
            num_steps: that are measured, after `burn_in` others.

        Returns:
            {"autocorrelation": 1 at lag 0, num_steps / 2 lags, "autocorrelation_time": in Gibbs steps}.
        """
        device = self._execution_device
        draw = uniform_rows(num_chains, torch.Generator().manual_seed(seed), device)
        v, y = independent_units(self._top, num_chains, draw)
        seen = []
        for i in range(burn_in + num_steps):
            part = min(1.0, (i + 1) / max(burn_in // 2, 1))
            v, y, p = gibbs_step(self._top, v, y, draw, part, 1 - part)
            if i >= burn_in:
                seen.append(p.half().cpu())
        correlation = autocorrelation(torch.stack(seen))
        return {"autocorrelation": correlation.tolist(), "autocorrelation_time": autocorrelation_time(correlation)}
