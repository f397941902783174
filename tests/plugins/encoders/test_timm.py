"""timm's models beside themselves, run whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from isthmus.core.contracts import Images
from isthmus.errors import InputError, PartError
from isthmus.plugins.encoders.timm import Timm
from isthmus.testing import check_encoder, tiny_pictures

SMALL = {"depth": 3, "embed_dim": 32, "num_heads": 2}
VIT = {"model": "vit_tiny_patch16_224", "options": SMALL, "image_size": 32}
DINO = {"model": "vit_small_patch14_reg4_dinov2", "options": SMALL, "image_size": 28}
SIGLIP = {"model": "vit_base_patch16_siglip_224", "options": SMALL, "image_size": 32}
SWIN = {
    "model": "swin_tiny_patch4_window7_224",
    "options": {"embed_dim": 16, "depths": [1, 1, 2, 1], "num_heads": [1, 1, 2, 2]},
    "image_size": 64,
}
SQUASH = {
    "model": "eva02_base_patch14_448",
    "options": {"depth": 2, "embed_dim": 48, "num_heads": 2},
    "image_size": 28,
}
RESNET = {"model": "resnet10t", "image_size": 64}


def build(fields: dict, **more) -> Timm:
    torch.manual_seed(0)
    return Timm.Config(**{**fields, "weights": None, **more}).build().eval()


@pytest.mark.parametrize("fields", [VIT, DINO, SIGLIP, SWIN, RESNET])
def test_it_conforms(fields: dict) -> None:
    check_encoder(Timm.Config(**fields, weights=None))


def test_it_conforms_with_class_and_register_tokens() -> None:
    config = Timm.Config(**DINO, weights=None, select="cls_patch")
    check_encoder(config)
    assert config.build().transform.grid.prefix == 5


def whole(encoder: Timm, fields: dict) -> torch.nn.Module:
    """timm's model, not cut, with the encoder's weights where it has them."""
    options = fields.get("options", {})
    size = {} if fields is RESNET else {"img_size": fields["image_size"]}
    model = timm.create_model(fields["model"], num_classes=0, **size, **options).eval()
    model.load_state_dict(encoder.model.state_dict(), strict=False)
    return model


def pixels(encoder: Timm) -> tuple[Images, Tensor]:
    images = Images.of(tiny_pictures(), encoder.transform)
    mean, std = (torch.tensor(x)[:, None, None] for x in (encoder.mean, encoder.std))
    return images, (images.pixels / 255 - mean) / std


@torch.no_grad()
def test_features_are_the_output_of_the_block_before_the_last() -> None:
    encoder = build(VIT)
    images, values = pixels(encoder)
    model, seen = whole(encoder, VIT), []
    model.blocks[1].register_forward_hook(lambda *args: seen.append(args[2]))
    model(values)
    assert torch.allclose(encoder(images).values, seen[0][:, 1:].flatten(0, 1), atol=1e-5)
    assert len(encoder.model.blocks) == 2


@torch.no_grad()
def test_features_of_a_convolutional_network_are_read_row_by_row() -> None:
    encoder = build(RESNET)
    images, values = pixels(encoder)
    model, seen = whole(encoder, RESNET), []
    model.layer3.register_forward_hook(lambda *args: seen.append(args[2]))
    model(values)
    wanted = torch.stack([seen[0][:, :, y, x] for y in range(4) for x in range(4)], dim=1)
    assert torch.allclose(encoder(images).values, wanted.flatten(0, 1), atol=1e-5)
    assert encoder.dim == seen[0].shape[1]


def test_weights_are_drawn_by_the_width_of_a_vit_and_by_fan_in_elsewhere() -> None:
    patches = build(VIT).model.patch_embed.proj.weight
    assert patches.std().item() == pytest.approx(32**-0.5, rel=0.05)
    third = build(RESNET).model.layer3[0].conv2.weight
    assert third.std().item() == pytest.approx((9 * 256) ** -0.5, rel=0.05)
    assert build(VIT, init="stock").model.patch_embed.proj.weight.std() < 0.05


def test_pictures_are_prepared_as_timm_says() -> None:
    crop, squash = build(VIT).transform, build(SQUASH).transform
    assert (crop.fit, crop.zoom, crop.size) == ("crop", 0.9, (32, 32))
    assert (squash.fit, squash.zoom) == ("resize", 1.0)
    assert build(SQUASH, preprocess="pad").transform.fit == "pad"


def test_weights_come_from_a_safetensors_file(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = timm.create_model(VIT["model"], num_classes=10, img_size=32, **SMALL)
    save_file(model.state_dict(), tmp_path / "vit.safetensors")
    config = Timm.Config(**VIT, weights=str(tmp_path / "vit.safetensors"))
    encoder = config.build()
    assert torch.equal(encoder.model.patch_embed.proj.weight, model.patch_embed.proj.weight)
    assert config.pretrained == str(tmp_path / "vit.safetensors")
    assert encoder.blueprint().pretrained is None


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    model = timm.create_model(VIT["model"], num_classes=0, img_size=32, **{**SMALL, "depth": 2})
    save_file(model.state_dict(), tmp_path / "vit.safetensors")
    with pytest.raises(PartError, match=r"lacks .* weights \(blocks.2"):
        Timm.Config(**VIT, weights=str(tmp_path / "vit.safetensors")).build()


def test_the_hub_is_asked_for_safetensors_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    asked = []

    def offline(repo: str, file: str) -> str:
        asked.append((repo, file))
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    error: Exception = LocalEntryNotFoundError("no connection")
    with pytest.raises(InputError, match=r"model.safetensors of .* from the hub .*no connection"):
        Timm.Config(model="resnet10t").build()
    error = EntryNotFoundError("404")
    with pytest.raises(InputError, match=r"model.safetensors of .* from the hub .*404"):
        Timm.Config(model="resnet10t").build()
    assert {file.rpartition(".")[2] for _, file in asked} == {"safetensors"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "resnet11t"}, "timm has no model 'resnet11t'. Did you mean 'resnet"),
        ({"model": "vit_tiny_patch16_224.nope"}, "tag .nope. .*There are: vit_tiny_patch16_224"),
        ({**RESNET, "weights": None, "select": "cls_patch"}, "no class token"),
        ({**RESNET, "weights": None, "layer": 9}, "there is no layer 9; the model has 5"),
        ({**VIT, "weights": None, "options": {"dept": 3}}, "could not be built.*dept"),
    ],
)
def test_a_wrong_config_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(PartError, match=message):
        Timm.Config(**fields).build()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no .safetensors file .*none.safetensors"):
        Timm.Config(**VIT, weights=str(tmp_path / "none.safetensors")).build()
