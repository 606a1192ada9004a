"""A recipe: one YAML file in hub_configs/ says everything about one checkpoint. Unknown keys are refused."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

# pydantic (a dependency of gradio) checks types and unknown keys better than code of our own would.
from pydantic import ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from genarium import paths
from genarium.errors import RecipeError
from genarium.files import parse_yaml

STRICT = ConfigDict(extra="forbid")
Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


@dataclass(frozen=True, config=STRICT)
class PairSpec:
    """The definition of pairs: rows equal in the column `same`, unequal in the condition `differ`."""

    same: str
    differ: Identifier


@dataclass(frozen=True, config=STRICT)
class TextSpec:
    """A column of texts, which the training sees as a pile apart from the pictures.

    `paired` is the share of the pictures that come with their own text.
    """

    column: str
    paired: Fraction = 0.0


@dataclass(frozen=True, config=STRICT)
class DataSpec:
    """The data section for pictures. `name` is a Hub id. GENARIUM_DATA or `--data` puts a local copy in its place.

    `conditions` are labels beside the class: the name of the control -> the column. `pairs` brings each row together with
    one of the same content in another style. `texts` are drawn apart from the pictures. `only` names the classes whose
    pictures are used, all by default. A single one is no class: its pictures come without labels.

    With `streaming`, training reads the split as a stream, shuffled in buffers of `shuffle_buffer` rows. `class_names` says the
    classes where the data do not. `fit_images` is how many pictures stand for all where a family measures them.
    """

    name: str
    sample_size: Positive
    channels: Literal[1, 3]
    config: str | None = None
    revision: str | None = None
    train_split: str = "train"
    test_split: str = "test"
    image_column: str = "image"
    label_column: str | None = "label"
    conditions: Mapping[Identifier, str] = dataclasses.field(default_factory=dict)
    pairs: PairSpec | None = None
    texts: TextSpec | None = None
    only: tuple[str, ...] = ()
    horizontal_flip: bool = False
    dark_background: bool = False  # uploads with a bright border are then inverted
    streaming: bool = False
    shuffle_buffer: Positive = 1000
    class_names: tuple[str, ...] = ()
    fit_images: Positive | None = None

    @model_validator(mode="after")
    def _check_pairs(self) -> DataSpec:
        if self.pairs and self.pairs.differ not in self.conditions:
            raise ValueError(f"pairs.differ: name one of `conditions`, which lack {self.pairs.differ!r}")
        if self.only and (self.pairs or self.texts or not self.label_column):
            raise ValueError("only: needs a label_column, and goes with neither pairs nor texts")
        return self

    @model_validator(mode="after")
    def _check_streaming(self) -> DataSpec:
        if self.streaming and (self.pairs or self.texts or self.only):
            raise ValueError("streaming: goes with none of pairs, texts and only, which look at all rows")
        if not self.streaming and (self.class_names or self.fit_images or self.shuffle_buffer != 1000):
            raise ValueError("shuffle_buffer, class_names and fit_images: are for streaming: true alone")
        if len(set(self.class_names)) < len(self.class_names) or (self.class_names and not self.label_column):
            raise ValueError("class_names: needs a label_column, and each class a name of its own")
        return self

    def split_name(self, split: str) -> str:
        """Return the name of a split as figures have it, with the classes of `only`."""
        return f"{self.name} {split}" + (f" ({', '.join(self.only)})" if self.only else "")


@dataclass(frozen=True, config=STRICT)
class AudioSpec:
    """The data section for speech, `kind: audio`. `names` are Hub ids, whose clips are joined. Local copies are as for pictures.

    A split that one of them lacks is made of the others. `unseen_split` holds speakers of no other split, for `evaluate`.
    Training sees crops of `crop_seconds`; values of `conditions` get their data set's name before them.
    """

    kind: Literal["audio"]
    names: Annotated[tuple[str, ...], Field(min_length=1)]
    sampling_rate: Positive
    crop_seconds: Annotated[float, Field(gt=0)]
    train_split: str = "train"
    test_split: str = "test"
    unseen_split: str | None = None
    audio_column: str = "audio"
    text_column: str = "text"
    conditions: Mapping[Identifier, str] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """The Hub ids in one line."""
        return ", ".join(self.names)


def _kind(values: Any) -> str:
    """Return the tag of the spec that a data section is read as."""
    return "audio" if isinstance(values, AudioSpec) or (isinstance(values, Mapping) and "kind" in values) else "image"


@dataclass(frozen=True, config=STRICT)
class BorrowSpec:
    """Finished components of another checkpoint, which the training leaves as they are."""

    checkpoint: str
    components: Annotated[tuple[Identifier, ...], Field(min_length=1)]


@dataclass(frozen=True, config=STRICT)
class TeacherSpec:
    """A teacher: the finished checkpoint that a student begins from, and whose images it learns from in place of the data.

    Image i is drawn with the seed `seed` + i and the other `parameters` at their defaults, classes in turn;
    the share `unlabelled` of the batches is drawn without class.
    """

    checkpoint: str
    images: Positive
    seed: Annotated[int, Field(ge=0)] = 0
    batch_size: Positive = 64
    unlabelled: Fraction = 0.0
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class StageSpec:
    """One part of a training in stages: what it sees, how it is watched, and where it differs from the training section.

    `name` is the pipeline's name of the stage. `samples` is the task whose results the sample grids show, by default the first
    that the pipeline can do.
    """

    name: str
    images: Positive
    samples: Identifier | None = None
    batch_size: Positive | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    betas: tuple[float, float] | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    schedule: Literal["linear", "cosine", "constant"] | None = None
    ema_decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    grad_clip: Annotated[float, Field(gt=0)] | None = None
    compile: bool | None = None
    save_every: Positive | None = None
    sample_every: Positive | None = None


@dataclass(frozen=True, config=STRICT)
class TrainingSpec:
    """The training section. One step sees `batch_size` images over all processes together.

    Either `images` says how many, or `stages` say it, each for itself; they run one after the other.
    """

    images: Positive | None = None
    stages: tuple[StageSpec, ...] = ()
    batch_size: Positive = 128
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_steps: Annotated[int, Field(ge=0)] = 200
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    grad_clip: Annotated[float, Field(gt=0)] = 1.0
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    compile: bool = False
    seed: int = 0
    save_every: Positive = 1000
    sample_every: Positive = 1000
    teacher: TeacherSpec | None = None
    components_from: BorrowSpec | None = None

    @model_validator(mode="after")
    def _check_stages(self) -> TrainingSpec:
        if (self.images is None) != bool(self.stages):
            raise ValueError("give `images`, or `stages` with images for each, and not both")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError("each of the stages needs a name of its own")
        return self

    def of_stage(self, stage: StageSpec) -> TrainingSpec:
        """Return the section with the values of one stage."""
        values = {key: value for key, value in dataclasses.asdict(stage).items() if value is not None}
        del values["name"]
        values.pop("samples", None)
        return dataclasses.replace(self, stages=(), **values)


@dataclass(frozen=True, config=STRICT)
class EvaluationSpec:
    """The evaluation section: what `evaluate` measures, and against what."""

    num_samples: Positive = 5000
    num_test_images: Positive = 2000
    seed: int = 0
    anomaly_data: DataSpec | None = None
    likelihood: Mapping[str, Any] | None = None


@dataclass(frozen=True, config=STRICT)
class CardSpec:
    """Facts for the model card that no program can know."""

    license: str = "apache-2.0"
    summary: str = ""
    limitations: str = ""
    hardware: str = ""
    time: str = ""


@dataclass(frozen=True, config=STRICT)
class TitleSpec:
    """What people call a checkpoint, in English and Chinese: "Flow matching, two steps – clothes"."""

    en: Annotated[str, Field(min_length=1)]
    zh: str = ""


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """One checkpoint, from data to card.

    `architecture` holds the keywords of the pipeline's `build`. The app lists checkpoints with a lower `order` first, and
    chooses the first one until a visitor chooses another.
    """

    name: str
    family: str
    repo_id: str
    data: Annotated[Annotated[DataSpec, Tag("image")] | Annotated[AudioSpec, Tag("audio")], Discriminator(_kind)]
    architecture: Mapping[str, Any]
    training: TrainingSpec
    evaluation: EvaluationSpec = dataclasses.field(default_factory=EvaluationSpec)
    card: CardSpec = dataclasses.field(default_factory=CardSpec)
    revision: str | None = None
    title: TitleSpec | None = None
    order: int = 100


def load_recipe(path: str | Path) -> Recipe:
    """Read one YAML file.

    Raises:
        RecipeError: not readable, not a mapping, an unknown key (with the nearest known one), a wrong type, or a name
            other than the file's.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
    recipe = read_recipe(text, str(path))
    if recipe.name != path.stem:
        raise RecipeError(f"{path}: `name: {recipe.name}` must equal the file's name, {path.stem}.")
    return recipe


def read_recipe(text: str, origin: str) -> Recipe:
    """Read the text of a recipe.

    Args:
        origin: names it in errors.

    Raises:
        RecipeError: as `load_recipe`, but for the name.
    """
    try:
        values = parse_yaml(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecipeError(f"{origin}: cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{origin}: a recipe is a YAML mapping; see the other files in hub_configs/.")
    try:
        return TypeAdapter(Recipe).validate_python(values)
    except ValidationError as error:
        raise RecipeError(f"{origin}:\n" + "\n".join(_explain(e) for e in error.errors())) from error


def _explain(error: Mapping[str, Any]) -> str:
    """Return one line of pydantic's report, with the nearest known key where a key is unknown."""
    loc = list(error["loc"])
    if len(loc) > 1 and loc[0] == "data":  # pydantic puts the kind of the section there
        del loc[1]
    where = ".".join(str(part) for part in loc)
    if error["type"] not in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"  {where}: {error['msg']}"
    *parents, key = loc
    spec: type = Recipe
    for parent in (part for part in parents if isinstance(part, str)):
        hints: dict[str, type] = {
            "data": AudioSpec if "audio" in error["loc"] else DataSpec,
            "training": TrainingSpec,
            "evaluation": EvaluationSpec,
            "card": CardSpec,
        }
        hints |= {"teacher": TeacherSpec, "stages": StageSpec, "components_from": BorrowSpec}
        hints |= {"pairs": PairSpec, "texts": TextSpec, "title": TitleSpec}
        spec = hints.get(parent, DataSpec)
    known = [field.name for field in dataclasses.fields(spec)]
    near = difflib.get_close_matches(str(key), known, n=1)
    return f"  {where}: unknown key" + (f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(known)}.")


def recipe_paths(folders: tuple[Path, ...] = ()) -> dict[str, Path]:
    """Return the YAML files in hub_configs/ and in the folders of installed plugins, by the name of the checkpoint."""
    found: dict[str, Path] = {}
    for folder in (paths.recipes(), *folders):
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def find_recipe(name: str, folders: tuple[Path, ...] = ()) -> Recipe:
    """Return the recipe of a checkpoint, by its name or by the path of a YAML file.

    Raises:
        RecipeError: there is none, with the nearest names.
    """
    if name.endswith((".yaml", ".yml")):
        return load_recipe(name)
    known = recipe_paths(folders)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3) or sorted(known)
        raise RecipeError(f"There is no recipe {name!r}. Known: {', '.join(near) or 'none'}.")
    return load_recipe(known[name])
