"""The data sets of `DATASETS`: each entry says everything that is particular to one of them."""

from __future__ import annotations

from physjax.data.digits import load_digits
from physjax.data.spec import Archive, DatasetSpec


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _archives(base: str, *files: tuple[str, int, str]) -> tuple[Archive, ...]:
    return tuple(Archive(name, base + name, size, sha256) for name, size, sha256 in files)


DIGIT_NAMES = tuple("0123456789")

# Channel statistics: CIFAR as published with torchvision's and airbench's recipes and checked
# against the shared copy; MNIST, Fashion-MNIST as published for 28x28, converted to the padded
# 32x32 (mean m*q, second moment (s^2 + m^2)*q, q = 784/1024); digits computed.
CIFAR10 = DatasetSpec(
    name="cifar10",
    title="CIFAR-10",
    class_names=(
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
    native_shape=(32, 32, 3),
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    mirror=True,
    version="3.0.2",
    train_examples=50_000,
    test_examples=10_000,
    layout="cifar",
    archives=_archives(
        "https://www.cs.toronto.edu/~kriz/",
        (
            "cifar-10-binary.tar.gz",
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
    alternatives=_archives(
        "https://www.cs.toronto.edu/~kriz/",
        (
            "cifar-10-python.tar.gz",
            170_498_071,
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ),
    ),
)

CIFAR100 = DatasetSpec(
    name="cifar100",
    title="CIFAR-100",
    class_names=_words(
        """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle
        bowl boy bridge bus butterfly camel can castle caterpillar cattle
        chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
        dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
        lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
        mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
        plain plate poppy porcupine possum rabbit raccoon ray road rocket
        rose sea seal shark shrew skunk skyscraper snail snake spider
        squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
        train trout tulip turtle wardrobe whale willow_tree wolf woman worm
        """
    ),
    native_shape=(32, 32, 3),
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
    mirror=True,
    version="3.0.2",
    train_examples=50_000,
    test_examples=10_000,
    layout="cifar",
    archives=_archives(
        "https://www.cs.toronto.edu/~kriz/",
        (
            "cifar-100-binary.tar.gz",
            168_513_733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    ),
    alternatives=_archives(
        "https://www.cs.toronto.edu/~kriz/",
        (
            "cifar-100-python.tar.gz",
            169_001_437,
            "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        ),
    ),
)

SVHN_CROPPED = DatasetSpec(
    name="svhn_cropped",
    title="SVHN (cropped)",
    class_names=DIGIT_NAMES,
    native_shape=(32, 32, 3),
    mean=(0.4377, 0.4438, 0.4728),
    std=(0.1980, 0.2010, 0.1970),
    mirror=False,
    version="3.1.0",
    train_examples=73_257,
    test_examples=26_032,
    layout="svhn",
    archives=_archives(
        "http://ufldl.stanford.edu/housenumbers/",
        (
            "train_32x32.mat",
            182_040_794,
            "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        ),
        (
            "test_32x32.mat",
            64_275_384,
            "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        ),
    ),
)

MNIST = DatasetSpec(
    name="mnist",
    title="MNIST",
    class_names=DIGIT_NAMES,
    native_shape=(28, 28, 1),
    mean=(0.1001,) * 3,
    std=(0.2752,) * 3,
    mirror=False,
    version="3.0.1",
    train_examples=60_000,
    test_examples=10_000,
    layout="idx",
    archives=_archives(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        (
            "train-images-idx3-ubyte.gz",
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        (
            "train-labels-idx1-ubyte.gz",
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        (
            "t10k-images-idx3-ubyte.gz",
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        (
            "t10k-labels-idx1-ubyte.gz",
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
)

FASHION_MNIST = DatasetSpec(
    name="fashion_mnist",
    title="Fashion-MNIST",
    class_names=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    native_shape=(28, 28, 1),
    mean=(0.2190,) * 3,
    std=(0.3318,) * 3,
    mirror=True,
    version="3.0.1",
    train_examples=60_000,
    test_examples=10_000,
    layout="idx",
    archives=_archives(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            "train-images-idx3-ubyte.gz",
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        (
            "train-labels-idx1-ubyte.gz",
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        (
            "t10k-images-idx3-ubyte.gz",
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        (
            "t10k-labels-idx1-ubyte.gz",
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
)

DIGITS = DatasetSpec(
    name="digits",
    title="scikit-learn digits",
    class_names=DIGIT_NAMES,
    native_shape=(8, 8, 1),
    mean=(0.3054,) * 3,
    std=(0.3237,) * 3,
    mirror=False,
    version="1.0.0",
    train_examples=1_437,
    test_examples=360,
    layout="embedded",
    load=load_digits,
)

# The repository of its publishers at 55506a9, as Debian packages it (dataset-fashion-mnist).
_FASHION_MNIST = "06f9aebbf7b5978c0d99e93593da605ff1e7c09121998ff42ad93e58d1abf164"
_JPEG_75 = "0da1a56e33c30845dc18e49ad82a1bcb58331a28dc5b6633e175c307c85f3e8b"

KNOWN_COPIES: dict[str, dict[str, str]] = {
    "cifar10": {_JPEG_75: "CIFAR-10 (JPEG-75 copy)"},
    "fashion_mnist": {_FASHION_MNIST: "Fashion-MNIST"},
}
"""Data set -> fingerprint of its decoded images -> what figures say of them.

The fingerprint of an original stands here where somebody had the published files to compute it.
Else the folder says by itself that it was prepared from them (`physjax.data.provenance`).
"""
