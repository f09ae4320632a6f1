"""A peer's network as a plain torch module of its names and shapes, small and with random weights.

Written from what the public code computes; nothing of ours is in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MBartConfig, MBartForConditionalGeneration

from tiny import tiny_processor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WIDTHS = (8, 8, 12, 16)
SIDE = 32


class Block(nn.Module):
    """A basic block of a ResNet, as torchvision names its parts."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.downsample = None
        if stride > 1 or inside != outside:
            shortcut = nn.Conv2d(inside, outside, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outside))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps to maps."""
        short = maps if self.downsample is None else self.downsample(maps)
        hidden = torch.relu(self.bn1(self.conv1(maps)))
        return torch.relu(self.bn2(self.conv2(hidden)) + short)


class ResNet(nn.Module):
    """A ResNet of one block a stage, without its last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        before = (WIDTHS[0], *WIDTHS)
        for stage, width in enumerate(WIDTHS, start=1):
            block = Block(before[stage - 1], width, 1 if stage == 1 else 2)
            setattr(self, f"layer{stage}", nn.Sequential(block))

    def forward(self, pixels: Tensor) -> Tensor:
        """A vector a picture."""
        hidden = torch.relu(self.bn1(self.conv1(pixels)))
        hidden = nn.functional.max_pool2d(hidden, 3, 2, 1)
        for stage in range(1, 5):
            hidden = getattr(self, f"layer{stage}")(hidden)
        return hidden.mean((2, 3))


class PlainPeer(nn.Module):
    """Backbone, temporal convolutions, adapter, mBART: as the peers' code runs them.

    Args:
        vocab_size: tokens.
        norm: "layer" or "batch": of the adapter.
        config: further fields of the mBART.
    """

    def __init__(self, vocab_size: int, norm: str, **config: Any) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.conv_2d = nn.Module()
        self.backbone.conv_2d.resnet = ResNet()
        self.backbone.conv_1d = nn.Module()
        layers: list[nn.Module] = []
        for inside in (WIDTHS[-1], 24):
            layers += [nn.Conv1d(inside, 24, 5), nn.BatchNorm1d(24), nn.ReLU(), nn.MaxPool1d(2)]
        self.backbone.conv_1d.temporal_conv = nn.Sequential(*layers)
        self.sign_emb = nn.Module()
        self.sign_emb.src_emb = nn.Linear(24, 32)
        kind = nn.LayerNorm if norm == "layer" else nn.BatchNorm1d
        self.sign_emb.bn_ac = nn.Sequential(kind(32), nn.ReLU())
        settings = {
            "d_model": 32,
            "encoder_layers": 3,
            "decoder_layers": 3,
            "encoder_attention_heads": 8,
            "decoder_attention_heads": 8,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_position_embeddings": 80,
            "activation_function": "relu",
            "scale_embedding": True,
            "tie_word_embeddings": False,
            "init_std": 0.3,
        }
        self.mbart = MBartForConditionalGeneration(
            MBartConfig(vocab_size=vocab_size, **settings | config)
        )
        # So that what comes out depends on what goes in.
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)

    def features(self, clips: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Features (batch, positions, 24) of frames (n, side, side, 3) uint8, and their mask."""
        longest = max(map(len, clips))
        padded_length = 4 * -(-longest // 4) + 16
        padded, lengths = [], []
        for clip in clips:
            behind = padded_length - 8 - len(clip)
            whole = torch.cat(
                [clip[:1].expand(8, -1, -1, -1), clip, clip[-1:].repeat(behind, 1, 1, 1)]
            )
            lengths.append(4 * -(-len(clip) // 4) + 16)
            padded.append(whole[: lengths[-1]])
        pixels = torch.cat(padded).float() / 255
        pixels = (pixels - torch.tensor(MEAN)) / torch.tensor(STD)
        vectors = self.backbone.conv_2d.resnet(pixels.permute(0, 3, 1, 2))
        rows = torch.split(vectors, lengths)
        laid = nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=1)
        features = self.backbone.conv_1d.temporal_conv(laid.transpose(1, 2)).transpose(1, 2)
        counts = torch.tensor([int(((length - 4) / 2 - 4) / 2) for length in lengths])
        return features, torch.arange(features.shape[1]) < counts[:, None]

    def embeds(self, features: Tensor) -> Tensor:
        """What the mBART reads, of features (batch, positions, 24)."""
        hidden = self.sign_emb.src_emb(features)
        if isinstance(self.sign_emb.bn_ac[0], nn.LayerNorm):
            return self.sign_emb.bn_ac(hidden)
        return self.sign_emb.bn_ac(hidden.transpose(1, 2)).transpose(1, 2)

    def forward(self, clips: list[Tensor], read: Tensor) -> Tensor:
        """Logits (batch, tokens, vocabulary) of the tokens behind each that the decoder reads."""
        features, mask = self.features(clips)
        return self.mbart(
            inputs_embeds=self.embeds(features), attention_mask=mask.long(), decoder_input_ids=read
        ).logits


def save_peer(folder: Path, norm: str = "layer", **config: Any) -> tuple[PlainPeer, Path]:
    """Save a peer's checkpoint, as its training does, with the tokenizer beside it."""
    torch.manual_seed(0)
    tokenizer = tiny_processor().tokenizer
    tokenizer.save_pretrained(folder)
    peer = PlainPeer(len(tokenizer), norm, **config).eval()
    optimizer = torch.optim.SGD(peer.sign_emb.parameters(), lr=0.01, momentum=0.9)
    args = argparse.Namespace(
        resize=36, input_size=SIDE, config="configs/phoenix/config1.yaml", lr=1e-3, opt_betas=None
    )
    content = {
        "model": peer.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 80).state_dict(),
        "epoch": 7,
        "args": args,
    }
    torch.save(content, folder / "best_checkpoint.pth")
    return peer, folder / "best_checkpoint.pth"
