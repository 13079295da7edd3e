"use strict";
(() => {
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));

  // Charts: every place is reserved in its final height before Vega draws into it, so nothing jumps.
  const { config, specs } = JSON.parse(document.getElementById("charts").textContent);
  const views = {};
  const tooltip = { theme: "custom", disableDefaultStyle: true, offsetX: 14, offsetY: 14 };
  const drawn = all("[data-chart]").map(async (place) => {
    const spec = specs[place.dataset.chart];
    if (!spec) return;
    try {
      const result = await vegaEmbed(place, spec, { config, renderer: "svg", ast: true, actions: false, tooltip });
      views[place.dataset.chart] = result.view;
      place.style.minHeight = "";
    } catch (error) {
      place.replaceChildren(Object.assign(document.createElement("p"), { className: "failed", textContent: "This chart could not be drawn." }));
      console.error(error);
    }
  });
  Promise.all(drawn).then(() => { document.documentElement.dataset.charts = "drawn"; });

  for (const button of all(".seg button")) {
    button.addEventListener("click", () => {
      const view = views[button.dataset.of];
      if (!view) return;
      for (const other of all("button", button.parentElement)) other.setAttribute("aria-pressed", String(other === button));
      view.signal(button.dataset.param, button.dataset.value).runAsync();
    });
  }

  window.addEventListener("beforeprint", () => { for (const details of all("details:not(.set-box)")) details.open = true; });
})();
