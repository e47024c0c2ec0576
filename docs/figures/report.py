"""Takes the pictures of docs/report.md: python docs/figures/report.py RUN STUDY

Needs chromium, chromedriver and the extra `test`.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from physjax.evaluate.inspection import ensure_inspected
from physjax.report.html import write_page

HERE = Path(__file__).parent


def picture(driver: webdriver.Chrome, page: Path, tab: str, width: int, height: int) -> Image.Image:
    """What a window of that size shows under a tab."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    driver.get(page.as_uri())
    driver.execute_script(
        "[...document.querySelectorAll('nav.panels button')]"
        f".find(b => b.textContent === {tab!r}).click()"
    )
    time.sleep(2)  # Charts are drawn with a transition.
    return Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")


def beside(*images: Image.Image) -> Image.Image:
    """Images in a row, a gap between them."""
    gap = 16
    whole = Image.new(
        "RGB",
        (sum(i.width for i in images) + gap * (len(images) - 1), images[0].height),
        "#b8c0c8",
    )
    left = 0
    for image in images:
        whole.paste(image, (left, 0))
        left += image.width + gap
    return whole


def main() -> None:
    run, study = map(Path, sys.argv[1:])
    # Mistakes, filters and forces are of a look into the network.
    ensure_inspected(run)
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(word)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    with tempfile.TemporaryDirectory() as folder:
        of_run, of_study = Path(folder) / "run.html", Path(folder) / "study.html"
        write_page([run], of_run)
        write_page([study], of_study)
        made = {
            "report_run": picture(driver, of_run, "Overview", 1100, 640),
            "report_mistakes": picture(driver, of_run, "Mistakes", 1100, 640),
            "report_study": picture(driver, of_study, "Differences", 1100, 460),
            "report_phone": beside(
                *(picture(driver, of_run, tab, 390, 780) for tab in ("Overview", "Forces")),
                picture(driver, of_study, "Curves", 390, 780),
            ),
        }
    driver.quit()
    for name, image in made.items():
        image.quantize(256, dither=Image.Dither.NONE).save(HERE / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
