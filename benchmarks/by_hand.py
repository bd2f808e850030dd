"""The loop of the study notes, as a person writes it: ImageFolder, eager PyTorch, the base frozen.

Run by ``benchmarks.compare`` as a process of its own. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("train")
    parser.add_argument("val")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()

    transform = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    train_set = datasets.ImageFolder(arguments.train, transform)
    val_set = datasets.ImageFolder(arguments.val, transform)
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=32)

    model = models.get_model(arguments.backbone, weights="IMAGENET1K_V1")
    for parameter in model.parameters():
        parameter.requires_grad = False
    num_classes = len(train_set.classes)
    if hasattr(model, "fc"):
        model.fc = nn.Linear(model.fc.in_features, num_classes)
        head = model.fc
    else:
        model.classifier[-1] = nn.Linear(model.classifier[-1].in_features, num_classes)
        head = model.classifier[-1]
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()

    best = 0.0
    begun = time.perf_counter()
    for _ in range(arguments.epochs):
        model.train()
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for images, labels in val_loader:
                right += int((model(images).argmax(1) == labels).sum())
        best = max(best, right / len(val_set))
    seconds = (time.perf_counter() - begun) / arguments.epochs
    print(json.dumps({"val_accuracy": best, "epoch_seconds": seconds}))


if __name__ == "__main__":
    main()
