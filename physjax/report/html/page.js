// Tabs, and charts that are drawn when they are first seen: a hidden one has no width.
"use strict";
const CONFIG = {
  responsive: true,
  displaylogo: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
};

function draw(within) {
  for (const box of within.querySelectorAll(".chart")) {
    if (box.offsetParent === null) continue;
    if (box.classList.contains("drawn")) {
      Plotly.Plots.resize(box);
      continue;
    }
    const figure = JSON.parse(box.querySelector("script").textContent);
    box.replaceChildren();
    box.classList.add("drawn");
    Plotly.newPlot(box, figure.data, figure.layout, CONFIG);
  }
}

function choose(button) {
  for (const other of button.parentElement.children) {
    const chosen = other === button;
    other.setAttribute("aria-selected", chosen);
    document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  draw(document);
}

for (const button of document.querySelectorAll("[role=tab]")) {
  button.addEventListener("click", () => choose(button));
  button.addEventListener("keydown", (event) => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (!step) return;
    const all = [...button.parentElement.children];
    const next = all[(all.indexOf(button) + step + all.length) % all.length];
    next.focus();
    choose(next);
  });
}
draw(document);
