"""The rivals' models in plain torch.nn with fresh weights: what is fastest in PyTorch, for inference at 224 pixels.

Nothing is left in that inference does not need: BatchNorm is folded into its convolution, dropout and drop path are gone.
"""
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """Attention and MLP, each on a normalised input and added to it; LV-ViT's divides both by 2 and has no bias in qkv."""

    def __init__(self, width, heads, mlp_ratio=4, bias=True, scale=1.0):
        super().__init__()
        self.heads, self.scale = heads, scale
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, mlp_ratio * width), nn.Linear(mlp_ratio * width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        y = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width))
        x = x + (y if self.scale == 1 else y * self.scale)
        y = self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return x + (y if self.scale == 1 else y * self.scale)


class Vit(nn.Module):
    """A stem that leaves `tokens` patches, a class token, blocks, and the head of the class token."""

    def __init__(self, stem, width, tokens, blocks, classes=1000):
        super().__init__()
        self.stem, self.blocks = stem, nn.Sequential(*blocks)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, tokens + 1, width))
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, classes)

    def forward(self, images):
        x = self.stem(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


def deit(width, heads, depth=12, side=224, patch=16):
    return Vit(nn.Conv2d(3, width, patch, patch), width, (side // patch) ** 2, [Block(width, heads) for _ in range(depth)])


def lvvit_small():
    """LV-ViT-S in the family that SiT slims: four convolutions of stride 2."""
    width, layers = 384, []
    for inputs, outputs in zip((3, width // 8, width // 4, width // 2), (width // 8, width // 4, width // 2, width)):
        layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.GELU()]
    blocks = [Block(width, 6, mlp_ratio=3, bias=False, scale=0.5) for _ in range(16)]
    return Vit(nn.Sequential(*layers[:-1]), width, 196, blocks)


class WindowBlock(nn.Module):
    """Attention within windows of 7 × 7 tokens; every second block shifts them by 3."""

    FUSED = False  # scaled_dot_product_attention with a mask, else its two products and softmax

    def __init__(self, width, heads, side, shift):
        super().__init__()
        self.heads, self.side, self.shift = heads, side, shift
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        windows = (side // 7) ** 2 if shift else 1
        self.bias = nn.Parameter(torch.randn(windows, heads, 49, 49)) # with the mask of shifted windows in it

    def forward(self, x):
        batch, tokens, width = x.shape
        count, side = self.side // 7, self.side
        y = self.norm1(x).view(batch, side, side, width)
        y = torch.roll(y, (-self.shift, -self.shift), (1, 2)) if self.shift else y
        y = y.view(batch, count, 7, count, 7, width).permute(0, 1, 3, 2, 4, 5).reshape(-1, 49, width)
        q, k, v = self.qkv(y).view(-1, 49, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.bias.repeat(len(q) // len(self.bias), 1, 1, 1) if self.shift else self.bias
        if self.FUSED:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(len(q), -1, -1, -1))
        else:
            y = F.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias, -1) @ v
        y = self.proj(y.transpose(1, 2).reshape(-1, 49, width))
        y = y.view(batch, count, count, 7, 7, width).permute(0, 1, 3, 2, 4, 5).reshape(batch, side, side, width)
        y = torch.roll(y, (self.shift, self.shift), (1, 2)) if self.shift else y
        x = x + y.reshape(batch, tokens, width)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Merge(nn.Module):
    def __init__(self, width, side):
        super().__init__()
        self.side, self.norm, self.reduction = side, nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x):
        batch, _, width = x.shape
        x = x.view(batch, self.side, self.side, width)
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.reduction(self.norm(x.view(batch, -1, 4 * width)))


class SwinTiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.patch_norm = nn.Conv2d(3, 96, 4, 4), nn.LayerNorm(96)
        layers, width, side = [], 96, 56
        for stage, (depth, heads) in enumerate(zip((2, 2, 6, 2), (3, 6, 12, 24))):
            layers += [WindowBlock(width, heads, side, 3 if block % 2 and side > 7 else 0) for block in range(depth)]
            if stage < 3:
                layers.append(Merge(width, side))
                width, side = 2 * width, side // 2
        self.layers, self.norm, self.head = nn.Sequential(*layers), nn.LayerNorm(width), nn.Linear(width, 1000)

    def forward(self, images):
        x = self.patch_norm(self.patch(images).flatten(2).transpose(1, 2))
        return self.head(self.norm(self.layers(x)).mean(1))


class Bottleneck(nn.Module):
    """1 × 1, grouped 3 × 3, squeeze and excitation, 1 × 1."""

    def __init__(self, inputs, width, stride, group_width=112):
        super().__init__()
        squeezed = round(inputs / 4)
        self.conv1 = nn.Conv2d(inputs, width, 1)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=width // group_width)
        self.fc1, self.fc2 = nn.Conv2d(width, squeezed, 1), nn.Conv2d(squeezed, width, 1)
        self.conv3 = nn.Conv2d(width, width, 1)
        self.downsample = nn.Conv2d(inputs, width, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        y = F.relu(self.conv2(F.relu(self.conv1(x))))
        y = y * torch.sigmoid(self.fc2(F.relu(self.fc1(y.mean((2, 3), keepdim=True)))))
        return F.relu(self.conv3(y) + self.downsample(x))


class RegNetY160(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, blocks, inputs = nn.Conv2d(3, 32, 3, 2, 1), [], 32
        for width, depth in ((224, 2), (448, 4), (1232, 11), (3024, 1)):
            for block in range(depth):
                blocks.append(Bottleneck(inputs, width, 2 if block == 0 else 1))
                inputs = width
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(inputs, 1000)

    def forward(self, images):
        return self.head(self.blocks(F.relu(self.stem(images))).mean((2, 3)))


MODELS = {
    "deit_tiny_patch16_224": lambda: deit(192, 3),
    "deit_small_patch16_224": lambda: deit(384, 6),
    "deit_base_patch16_224": lambda: deit(768, 12),
    "swin_tiny_patch4_window7_224": SwinTiny,
    "sit_lvvit_s": lvvit_small,
    "regnety_160": RegNetY160,
}
