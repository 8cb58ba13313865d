#!/usr/bin/env python3
"""Makes the reference vectors that libs/inference is held to, with Hugging Face transformers on CPU.

    make_reference.py --out libs/inference/tests/data [--minilm DIR]

Writes tiny random CLIP and SigLIP models (fixed seed), a few images, and `reference.json` in each
model's folder: what transformers answers from raw text and raw image file. With --minilm (see
scripts/fetch_minilm.sh) also `minilm/reference.json`; those weights are not copied.
"""

import argparse
import json
import pathlib

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers, Regex
from transformers import (
    AutoModel,
    AutoTokenizer,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

SEED = 20261120

TEXTS = [
    "a cat on a sofa",
    "a kitten resting on a couch",
    "stock market crash",
    "",
    "  Two   DOGS,\trunning\nthrough snow!  ",
    "café résumé naïve Zürich",
    "東京の夜景 и закат над морем",
    "🐈 + 🛋️ = ❤️",
    "don't stop; it's the 21st of May, 2026 (or 22nd?)",
    "a",
    "beach sunset " * 200,
]

CORPUS = [
    "a photo of a cat on a sofa",
    "a kitten resting on a couch",
    "two dogs running through snow in the morning",
    "the stock market crash of the century",
    "beach sunset over the sea with mountains behind",
    "it's a birthday party, don't stop the music",
    "portrait of a woman with an umbrella in the rain",
    "old car parked in the street at night",
] * 4


def rounded(vector):
    return [float(f"{x:.7g}") for x in vector.tolist()]


def unit(vectors):
    return torch.nn.functional.normalize(vectors.float(), p=2, dim=-1)


def randomize(model, generator):
    """Replaces every weight by a seeded one, biases and norms too, so that none may be forgotten."""
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name or "layrnorm" in name:
                base = 1.0 if name.endswith("weight") else 0.0
                parameter.copy_(base + 0.2 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.1 * noise)
            elif parameter.dim() == 0:
                continue
            else:
                fan_in = parameter[0].numel() if parameter.dim() > 1 else parameter.numel()
                scale = 0.5 if "embedding.weight" in name and "patch" not in name else 1.5 * fan_in**-0.5
                parameter.copy_(scale * noise)
    return model.eval()


def make_images(folder):
    """Photo-like pictures in awkward sizes: wide, tall, smaller than the tower, tiny odd edges."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    names = []
    for name, width, height in [
        ("wide.png", 211, 93),
        ("tall.jpg", 240, 371),
        ("small.png", 37, 29),
        ("photo.jpg", 400, 300),
    ]:
        y, x = np.mgrid[0:height, 0:width].astype(np.float64)
        channels = []
        for c in range(3):
            waves = sum(
                rng.uniform(20, 50) * np.sin(x / rng.uniform(3, 40) + y / rng.uniform(3, 40) + rng.uniform(0, 6))
                for _ in range(3)
            )
            blob = 90 * np.exp(-((x - width * rng.uniform()) ** 2 + (y - height * rng.uniform()) ** 2) / (width * 6))
            channels.append(110 + waves + blob)
        pixels = np.clip(np.stack(channels, -1) + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)
        image = Image.fromarray(pixels)
        if name.endswith(".jpg"):
            image.save(folder / name, quality=90)
        else:
            image.save(folder / name, optimize=True)
        names.append(name)
    return names


def image_cases(folder, names, processor, embed):
    cases = []
    for name in names:
        with Image.open(folder / name) as image:
            pixels = processor(images=image, return_tensors="pt")["pixel_values"]
        cases.append(
            {
                "file": name,
                "pixels": {
                    "shape": list(pixels.shape),
                    "head": rounded(pixels.flatten()[:48]),
                    "sum": float(pixels.double().sum()),
                },
                "vector": rounded(unit(embed(pixels))[0]),
            }
        )
    return cases


def pooled(output):
    """`get_*_features` answers a tensor in transformers 4 and an output object in 5."""
    return output if isinstance(output, torch.Tensor) else output.pooler_output


def clip_tokenizer(folder):
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), behavior="removed", invert=True
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=780, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    # CLIP's own order: bytes, bytes at the end of a word, merges, then the two specials last.
    words = sorted(alphabet) + [byte + "</w>" for byte in sorted(alphabet)]
    merges = [tuple(merge) for merge in trained["merges"]]
    for left, right in merges:
        if left + right not in words:
            words.append(left + right)
    words += ["<|startoftext|>", "<|endoftext|>"]
    made = CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=merges, model_max_length=24)
    made.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def make_clip(folder, images, names, act, legacy_eos):
    tokenizer = clip_tokenizer(folder)
    eos = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    config = CLIPConfig(
        text_config=dict(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=24, hidden_act=act, projection_dim=24,
            bos_token_id=0 if legacy_eos else tokenizer.convert_tokens_to_ids("<|startoftext|>"),
            # openai/clip-* say 2 here, which means "the highest id of the text".
            eos_token_id=2 if legacy_eos else eos, pad_token_id=1 if legacy_eos else eos,
        ),
        vision_config=dict(
            hidden_size=40, intermediate_size=80, num_hidden_layers=2, num_attention_heads=5, image_size=48, patch_size=16,
            hidden_act=act, projection_dim=24,
        ),
        projection_dim=24,
    )
    model = randomize(CLIPModel(config), torch.Generator().manual_seed(SEED))
    model.save_pretrained(folder)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})
    processor.save_pretrained(folder)
    model = CLIPModel.from_pretrained(folder).eval()
    texts = []
    for text in TEXTS:
        inputs = tokenizer(text, padding="max_length", truncation=True, max_length=24, return_tensors="pt")
        vector = unit(pooled(model.get_text_features(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])))[0]
        plain = tokenizer(text, truncation=True, max_length=24)["input_ids"]
        texts.append({"text": text, "ids": plain, "vector": rounded(vector)})
    cases = image_cases(images, names, processor, lambda pixels: pooled(model.get_image_features(pixel_values=pixels)))
    write(folder / "reference.json", {"dims": 24, "texts": texts, "images": cases})


def make_siglip(folder, images, names):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>", unk_token="<unk>", model_max_length=64,
        model_input_names=["input_ids"],
    )
    fast.save_pretrained(folder)
    config = SiglipConfig(
        text_config=dict(
            vocab_size=len(fast), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=64, projection_size=32,
        ),
        vision_config=dict(
            hidden_size=32, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4, image_size=64, patch_size=16
        ),
    )
    model = randomize(SiglipModel(config), torch.Generator().manual_seed(SEED + 1))
    model.save_pretrained(folder)
    processor = SiglipImageProcessorPil(size={"height": 64, "width": 64})
    processor.save_pretrained(folder)
    model = SiglipModel.from_pretrained(folder).eval()
    texts = []
    for text in TEXTS:
        inputs = fast(text, padding="max_length", truncation=True, max_length=64, return_tensors="pt")
        vector = unit(pooled(model.get_text_features(input_ids=inputs["input_ids"])))[0]
        plain = fast(text, truncation=True, max_length=64)["input_ids"]
        texts.append({"text": text, "ids": plain, "vector": rounded(vector)})
    cases = image_cases(images, names, processor, lambda pixels: pooled(model.get_image_features(pixel_values=pixels)))
    write(folder / "reference.json", {"dims": 32, "texts": texts, "images": cases})


def make_minilm(weights, folder):
    """sentence-transformers' recipe for this model: at most 256 tokens, masked mean, unit length."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(weights)
    model = AutoModel.from_pretrained(weights, attn_implementation="eager").eval()
    limit = json.loads((weights / "sentence_bert_config.json").read_text())["max_seq_length"]
    texts = []
    for text in TEXTS:
        inputs = tokenizer(text, padding=False, truncation=True, max_length=limit, return_tensors="pt")
        states = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1).float()
        vector = unit((states * mask).sum(1) / mask.sum(1))[0]
        texts.append({"text": text, "ids": inputs["input_ids"][0].tolist(), "vector": rounded(vector)})
    write(folder / "reference.json", {"dims": 384, "texts": texts, "images": []})


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace('{"text"', '\n{"text"').replace('{"file"', '\n{"file"') + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--minilm", type=pathlib.Path)
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    out = arguments.out
    names = make_images(out / "images")
    make_clip(out / "tiny-clip", out / "images", names, "quick_gelu", legacy_eos=True)
    make_clip(out / "tiny-clip-gelu", out / "images", names, "gelu", legacy_eos=False)
    make_siglip(out / "tiny-siglip", out / "images", names)
    if arguments.minilm:
        make_minilm(arguments.minilm, out / "minilm")


if __name__ == "__main__":
    main()
