"""The conformance kit catches parts that break their promises; what it accepts is tested where
the built-in parts are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isthmus.core.config import create
from isthmus.core.contracts import (
    VISUAL_SEEN,
    VISUAL_STATES,
    Connector,
    ConnectorText,
    CrossAttentionConnector,
    CrossAttentionStates,
    Encoder,
    Features,
    Grid,
    Images,
    QueryConnector,
)
from isthmus.core.model.build import build_model
from isthmus.core.model.transform import FitTransform
from isthmus.plugins.llms.causal import Causal
from isthmus.testing import (
    ContractBroken,
    check_connector,
    check_encoder,
    check_llm,
    tiny_encoder_config,
    tiny_llm_config,
    tiny_model_config,
    tiny_pictures,
    tiny_texts,
    tiny_tokenizer,
)


class Patches(Encoder, name="patches"):
    """An honest encoder: one linear layer over patches."""

    class Config(Encoder.Config):
        """Configuration of `patches`."""

        dim: int = 12
        """Width of a feature."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.dim = config, config.dim
        self.patches = nn.Conv2d(3, config.dim, kernel_size=8, stride=8)
        self.transform = FitTransform((32, 32), Grid(4, 4), "resize")

    def forward(self, images: Images) -> Features:
        found = self.patches(images.pixels / 255).flatten(2).transpose(1, 2)
        return Features(found.flatten(0, 1), images.grids)


class Project(Connector, name="project"):
    """An honest connector: one linear layer."""

    def __init__(self, config: Connector.Config, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.layer = nn.Linear(dim_in, dim_out)

    def forward(self, features: Features) -> Tensor:
        return self.layer(features.values)


class Gate(CrossAttentionConnector, name="gate"):
    """An honest cross-attention connector: adds the gated mean of the images before a token."""

    start = 0.0

    def __init__(self, config: Any, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.layer = nn.Linear(dim_in, dim_out)
        self.gate = nn.Parameter(torch.full((1,), self.start))

    def forward(self, features: Features) -> CrossAttentionStates:
        values, mask = features.padded()
        return CrossAttentionStates(self.layer(values), mask)

    def attach(self, llm: Any) -> list[Any]:
        def look(layer: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            states, seen = kwargs.pop(VISUAL_STATES, None), kwargs.pop(VISUAL_SEEN, None)
            if states is None:
                return args, kwargs
            return (args[0] + self.gate * self.mean(states.values, seen), *args[1:]), kwargs

        layers = llm.decoder_layers
        return [layer.register_forward_pre_hook(look, with_kwargs=True) for layer in layers]

    def mean(self, values: Tensor, seen: Tensor) -> Tensor:
        return seen.to(values.dtype) @ values.mean(1) / seen.sum(-1, keepdim=True).clamp(min=1)


def test_honest_parts_pass() -> None:
    check_encoder(Patches.Config())
    check_connector(Project.Config())
    check_connector(Gate.Config())
    check_connector(Reader.Config())


class FewerThanPromised(Patches, name="fewer_than_promised"):
    def forward(self, images: Images) -> Features:
        found = super().forward(images)
        return Features(found.values[1:], found.grids)


class OtherWidth(Patches, name="other_width"):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.dim = 13


class LooksAtTheBatch(Patches, name="looks_at_the_batch"):
    def forward(self, images: Images) -> Features:
        found = super().forward(images)
        return Features(found.values - found.values.mean(0), found.grids)


class NeverUsed(Patches, name="never_used"):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.head = nn.Linear(2, 2)


class Moody(Patches, name="moody"):
    def forward(self, images: Images) -> Features:
        found = super().forward(images)
        return Features(found.values + torch.rand(()), found.grids)


class NotANumberInTheDark(Patches, name="not_a_number_in_the_dark"):
    def forward(self, images: Images) -> Features:
        found = super().forward(images)
        size = images.pixels.float().mean((1, 2, 3)).repeat_interleave(16)
        return Features(found.values * (size / size)[:, None], found.grids)


class OtherShape(Patches, name="other_shape"):
    def blueprint(self) -> Any:
        return type(self).Config(dim=self.dim + 1)


class NamesAFolder(Patches, name="names_a_folder"):
    class Config(Patches.Config):
        """Configuration of `names_a_folder`."""

        @property
        def pretrained(self) -> str | None:
            return "somewhere"


class Sideways(FitTransform):
    def __call__(self, image: Any) -> Tensor:
        return super().__call__(image)[:, :, :, 0]


class ThreeDimensions(Patches, name="three_dimensions"):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.transform = Sideways((32, 32), Grid(4, 4), "resize")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (FewerThanPromised, "grids promise 64 features for 4 images, it gave 63"),
        (OtherWidth, r"features are \(tokens 13\), not \(64, 12\)"),
        (LooksAtTheBatch, "each image alone, and of all in one batch"),
        (NeverUsed, "no gradient reaches head.weight, head.bias"),
        (Moody, "each image alone, and of all|run twice"),
        (NotANumberInTheDark, "features of a black picture are not finite"),
        (OtherShape, "a part built from it does not take the weights"),
        (NamesAFolder, "names no hub id and no folder"),
        (ThreeDimensions, r"becomes \(crops 3 height width\) uint8"),
    ],
)
def test_an_encoder_that_breaks_a_promise_is_caught(part: Any, message: str) -> None:
    with pytest.raises(ContractBroken, match=message):
        check_encoder(part.Config())


class TooMany(Project, name="too_many"):
    class Config(Connector.Config):
        """Configuration of `too_many`."""

        def num_tokens(self, grids: Any) -> int:
            return 17


class MixesImages(Project, name="mixes_images"):
    def forward(self, features: Features) -> Tensor:
        return super().forward(Features(features.values.roll(1, 0), features.grids))


class HalfUsed(Project, name="half_used"):
    def __init__(self, config: Any, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.spare = nn.Parameter(torch.zeros(3))


class OpenGate(Gate, name="open_gate"):
    start = 0.5


class SeesEverything(Gate, name="sees_everything"):
    def mean(self, values: Tensor, seen: Tensor) -> Tensor:
        return values.mean((0, 1)).expand(*seen.shape[:-1], -1)


class SeesAhead(Gate, name="sees_ahead"):
    """Looks at every image of its own sample, also at those behind the token."""

    def mean(self, values: Tensor, seen: Tensor) -> Tensor:
        shown = torch.tensor([[1.0, 0.0]] * 6 + [[0.0, 1.0]] * 4)[-seen.shape[1] :]
        return shown[None, :, -len(values) :] @ values.mean(1)


class Reader(QueryConnector, name="reader"):
    """An honest connector that reads: as many words as came with an image, on its features."""

    def __init__(self, config: Any, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.layer = nn.Linear(dim_in, dim_out)
        self.tokenizer = tiny_tokenizer()

    def forward(self, features: Features, text: ConnectorText | None = None) -> Tensor:
        seen = self.layer(features.values)
        if text is None:
            return seen
        return seen + self.count(text).repeat_interleave(torch.tensor(features.counts))[:, None]

    def count(self, text: ConnectorText) -> Tensor:
        return text.mask.sum(dim=1)


class ReadsPadding(Reader, name="reads_padding"):
    def count(self, text: ConnectorText) -> Tensor:
        return text.mask.new_ones(text.mask.shape).sum(dim=1)


class OneLayout(Project, name="one_layout"):
    """Thinks of every image as 4 x 4 patches."""

    class Config(Connector.Config):
        """Configuration of `one_layout`."""

        def num_tokens(self, grids: Any) -> int:
            return 16


class AlwaysSingle(Project, name="always_single"):
    def forward(self, features: Features) -> Tensor:
        weight, bias = self.layer.weight.float(), self.layer.bias.float()
        return nn.functional.linear(features.values.float(), weight, bias)


class Mixed(Project, name="mixed"):
    def forward(self, features: Features) -> Tensor:
        return self.layer(features.values.float())


class AddsToAll(Gate, name="adds_to_all"):
    """Where there is no image, the blank one is added all the same."""

    def mean(self, values: Tensor, seen: Tensor) -> Tensor:
        if seen.any():
            return super().mean(values, seen)
        return values.mean((0, 1)).expand(*seen.shape[:-1], -1)


class ReadsHalf(Reader, name="reads_half"):
    """What is for text alone learns nothing where there is some."""

    def __init__(self, config: Any, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.other = nn.Linear(dim_in, dim_out)

    def forward(self, features: Features, text: ConnectorText | None = None) -> Tensor:
        seen = super().forward(features, text)
        return seen if text is not None else seen + self.other(features.values)


class TakesPlaces(Gate, name="takes_places"):
    class Config(CrossAttentionConnector.Config):
        """Configuration of `takes_places`."""

        def num_tokens(self, grids: Any) -> int:
            return 1


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (TooMany, r"promises \[17, 17, 17\] visual tokens, so forward must give \(51 32\)"),
        (MixesImages, "for each image alone, and in one batch"),
        (HalfUsed, "no gradient reaches spare"),
        (OpenGate, "the same to the last bit"),
        (SeesEverything, "a sample in a pack, and alone"),
        (ReadsPadding, "for each image and its text, alone, and in one batch"),
        (SeesAhead, "tokens before an image, whatever the image shows"),
        (OneLayout, r"promises \[16, 16, 16, 16\] visual tokens"),
        (AlwaysSingle, r"stored in torch.float64, .* it gives torch.float32"),
        (Mixed, "stored in torch.float64 it does not run"),
        (AddsToAll, "tokens that see no image, whatever an image shows"),
        (ReadsHalf, "no gradient reaches other.weight"),
        (TakesPlaces, "num_tokens must be 0"),
    ],
)
def test_a_connector_that_breaks_a_promise_is_caught(part: Any, message: str) -> None:
    with pytest.raises(ContractBroken, match=message):
        check_connector(part.Config())


class LeaksBetweenSamples(Causal, name="leaks_between_samples"):
    def forward(self, embeds: Tensor, segments: Any, layer_inputs: Any = None) -> Tensor:
        return super().forward(embeds, type(segments)((len(embeds),)), layer_inputs)


class SeesTheFuture(Causal, name="sees_the_future"):
    def forward(self, embeds: Tensor, segments: Any, layer_inputs: Any = None) -> Tensor:
        samples = torch.split(super().forward(embeds, segments), list(segments.lengths))
        return torch.cat([sample + sample.mean(0) for sample in samples])


class LateBreaking(Causal):
    """Honest until it is built: a decoder tries itself out before."""

    broken = False

    def __init__(self, config: Any, tokenizer_object: Any = None) -> None:
        super().__init__(config, tokenizer_object)
        self.broken = True


class ForgetsPadding(LateBreaking, name="forgets_padding"):
    def decode(self, embeds: Tensor, mask: Tensor, cache: Any = None, layer_inputs: Any = None):
        seen = torch.ones_like(mask) if self.broken else mask
        return super().decode(embeds, seen, cache, layer_inputs)


class SmallHead(LateBreaking, name="small_head"):
    def head(self, hidden: Tensor) -> Tensor:
        return super().head(hidden)[..., : 100 if self.broken else None]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (LeaksBetweenSamples, "hidden states in a pack, and of each sample alone"),
        (SeesTheFuture, "tokens that a later one changed"),
        (ForgetsPadding, r"decode: hidden states, and those of forward"),
        (SmallHead, "it speaks 100 tokens, the tokenizer 3"),
    ],
)
def test_an_llm_that_breaks_a_promise_is_caught(part: Any, message: str) -> None:
    config = part.Config(config=tiny_llm_config().config)
    with pytest.raises(ContractBroken, match=message):
        check_llm(config, tokenizer_object=tiny_tokenizer())


def test_checking_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    check_encoder(tiny_encoder_config())
    check_connector(Project.Config())
    assert torch.equal(torch.rand(3), wanted)


def test_tiny_parts_make_a_model() -> None:
    model = build_model(tiny_model_config({"type": "mlp", "depth": 3}), texts=tiny_texts)
    assert sum(p.numel() for p in model.parameters()) < 60_000
    assert len({picture.size for picture in tiny_pictures()}) == 4


def test_parts_of_the_registry_are_checked_by_their_config() -> None:
    shape = tiny_llm_config().config
    llm = create("llm", "causal", config=shape, tokenizer_object=tiny_tokenizer())
    check_llm(llm.config, tokenizer_object=llm.tokenizer)
