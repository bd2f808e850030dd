"""Names that other programs use for what Headstart's settings do, for errors about unknown names.

They come from timm, fastai, Keras, PyTorch Lightning, Ultralytics, AutoGluon and Hugging Face.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

_WORDS: Final = {
    "data": "data_dir data_path data_root dataset image_folder path train_data train_dir train_folder",
    "out": "exp_name experiment logdir logging_dir name output output_dir project save_dir",
    "val": (
        "holdout_frac tuning_data val_data val_dir val_frac val_size val_split val_pct valid valid_data "
        "valid_dir valid_pct validation validation_data validation_fraction validation_split"
    ),
    "test": "test_frac test_size test_split",
    "task": "mode problem problem_type",
    "target": "regression_target target_column targets",
    "image_column": "file_column fn_col image_col image_path path_column x_col",
    "label_column": "class_column label label_col y_col",
    "split_column": "valid_col",
    "group_by": "group groups",
    "backbone": (
        "arch architecture base_model encoder model model_name model_name_or_path net network "
        "pretrained_model_name_or_path"
    ),
    "weights": "ckpt ckpt_path checkpoint initial_checkpoint pretrained pretrained_path",
    "size_px": "image_size img_size imgsz input_shape input_size resolution target_size",
    "resize": "crop_mode crop_pct resize_method",
    "mean": "image_mean img_mean",
    "std": "image_std img_std",
    "head": "classifier custom_head head_type",
    "recipe": "hyperparameters presets strategy",
    "epochs": "max_epochs n_epoch n_epochs nb_epochs num_epochs num_train_epochs",
    "lr": "base_lr learning_rate lr0 lr_max max_lr",
    "batch_size": "batch bs mini_batch_size per_device_train_batch_size train_batch_size",
    "select": "best_metric eval_metric metric metric_for_best_model metrics monitor",
    "seed": "manual_seed random_seed random_state rng",
    "workers": "dataloader_num_workers n_workers num_workers nw",
    "device": "accelerator devices gpu gpus num_gpus",
    "precision": "amp amp_dtype bf16 fp16 half mixed_precision",
    "max_minutes": "max_time time time_limit",
    "checkpoint_seconds": "checkpoint_hist save_freq save_period save_steps",
    "watch": "callbacks cbs log_wandb logger loggers report_to tensorboard wandb",
    "features": "cache cache_features",
    "unfreeze": "unfreeze_layers",
    "augment": (
        "aa aug augmentation augmentations auto_augment batch_tfms item_tfms randaugment transform transforms"
    ),
    "optimizer": "opt opt_func optim optimiser",
    "head_lr": "classifier_lr",
    "backbone_lr": "encoder_lr",
    "layer_decay": "discriminative_lr llrd",
    "weight_decay": "decay wd",
    "clip_norm": "clip_grad clipnorm grad_clip gradient_clip_val max_grad_norm",
    "accumulate": (
        "accumulate_grad_batches accumulation_steps grad_accum grad_accum_steps gradient_accumulation_steps"
    ),
    "schedule": "cos_lr lr_schedule lr_scheduler lr_scheduler_type sched scheduler",
    "step_epochs": "decay_epochs step_size",
    "gamma": "decay_rate lr_gamma",
    "warmup_epochs": "warmup warmup_ratio warmup_steps",
    "norm": "bn_freeze freeze_bn",
    "label_smoothing": "label_smooth smoothing",
    "class_weights": "class_weight",
    "sampling": "oversample sampler weighted_sampler",
    "mixup": "mixup_alpha",
    "cutmix": "cutmix_alpha",
    "mirror": "flip fliplr hflip tta",
    "ema": "ema_decay model_ema model_ema_decay",
    "patience": "early_stopping early_stopping_patience",
}

_SENTENCES: Final = {
    "class_map classes n_classes n_out nc num_classes num_labels": (
        "Headstart reads the classes from the data. Leave it out."
    ),
    "criterion loss loss_func loss_fn": "The loss follows from the task: see --task. Leave it out.",
    "freeze freeze_backbone freeze_epochs freeze_layers trainable": (
        "The recipe decides what is frozen: see --recipe, or set unfreeze of a phase."
    ),
    "channels in_chans n_in": "Photos are always read as RGB. Leave it out.",
    "shuffle": "Training photos are always shuffled, in an order that seed determines. Leave it out.",
    "load_best_model_at_end save_best save_best_only": (
        "The best weights are always kept; select names the score that decides."
    ),
    "auto_resume resume resume_from_checkpoint": "A run is resumed with: headstart resume RUN",
    "format to_onnx": "Files in other formats are written by: headstart export RUN --to FORMAT",
}

# Values of other programs, and the value of Headstart that means the same.
_VALUES: Final = {
    "cuda": "cuda:0 gpu nvidia rocm 0",
    "mps": "apple metal",
    "fp16": "16 16-mixed amp float16 half",
    "bf16": "bf16-mixed bfloat16",
    "fp32": "32 float float32 full single",
    "val_calibrated_loss": "eval_loss loss logloss valid_loss validation_loss",
    "val_accuracy": "acc accuracy eval_accuracy top1 val_acc",
    "val_balanced_accuracy": "balanced balanced_acc balanced_accuracy",
    "val_macro_f1": "f1 f1_macro f1_score f1score macro",
    "val_map": "ap average_precision map",
    "classification": "classify image_classification multiclass single_label",
    "multilabel": "multi_label multi_label_classification tagging tags",
    "regression": "continuous numbers regress",
    "box": "bbox detect detection localization object_detection",
    "pad": "contain fit letterbox",
    "squash": "distort resize stretch warp",
    "crop": "center_crop centre_crop cover",
    "one-cycle": "1cycle onecycle onecyclelr",
    "cosine": "cos cosineannealinglr",
    "multistep": "multisteplr",
    "exponential": "exp exponentiallr",
    "constant": "fixed none",
    "adamw": "adamw_8bit adamw_torch",
    "sgd": "momentum nesterov",
    "drop": "del delete discard exclude remove skip",
    "keep": "accept ignore leave ok",
    "label": "correct fix relabel rename",
    "largest": "biggest max",
    "onnx-fp16": "float16 fp16 half",
    "pth": "pt pytorch torch",
    "linear": "fc softmax",
    "off": "disable disabled false no none",
}

_MEANT: Final = {word: name for name, words in _WORDS.items() for word in words.split()}
_VALUE_MEANT: Final = [(word, value) for value, words in _VALUES.items() for word in words.split()]
_SAID: Final = {word: sentence for words, sentence in _SENTENCES.items() for word in words.split()}

# Where a setting of the whole run does not exist, as in a phase or for another command.
_INSTEAD: Final = {"lr": "head_lr"}


def meanings(word: str) -> tuple[str, ...]:
    """Return the names of settings that a word of another program may mean, the likeliest first."""
    name = _MEANT.get(_plain(word))
    if name is None:
        return ("head_lr",) if _plain(word) == "lr" else ()
    return (name, _INSTEAD[name]) if name in _INSTEAD else (name,)


def value_meant(word: str, allowed: Collection[str]) -> str | None:
    """Return the allowed value that a value of another program means; None if there is none."""
    plain = _plain(word)
    return next((value for name, value in _VALUE_MEANT if name == plain and value in allowed), None)


def explained(word: str) -> str:
    """Return a sentence about a word of another program that needs no setting here; empty for others."""
    return _SAID.get(_plain(word), "")


def _plain(word: str) -> str:
    return word.lower().lstrip("-").replace("-", "_")
