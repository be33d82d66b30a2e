// Draws every figure of the page from the JSON beside it, in the colours the reader's system asks for.
(function () {
  "use strict";
  var content = JSON.parse(document.getElementById("figures").textContent);
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  var hover = window.matchMedia("(hover: hover)").matches;
  var coarse = window.matchMedia("(pointer: coarse)").matches;
  var places = { color: 1, colorscale: 1, fillcolor: 1 };

  // A role ("@accent") becomes a colour, and only where a colour stands: texts are never looked at.
  function painted(value, palette, here) {
    if (typeof value === "string") return here && value[0] === "@" ? palette[value.slice(1)] : value;
    if (Array.isArray(value)) return value.map(function (part) { return painted(part, palette, here); });
    if (value === null || typeof value !== "object") return value;
    var copy = {};
    Object.keys(value).forEach(function (key) { copy[key] = painted(value[key], palette, here || places[key] === 1); });
    return copy;
  }

  function axis(own, palette) {
    return Object.assign({
      automargin: true, zeroline: false, gridcolor: palette.line, linecolor: palette.line, tickcolor: palette.line,
      fixedrange: coarse
    }, own, { title: Object.assign({ standoff: 8 }, own.title) });
  }

  function draw(panel, palette) {
    var legend = panel.data.some(function (trace) { return trace.showlegend; });
    return Plotly.react(panel.id, painted(panel.data, palette, false), {
      height: panel.height, margin: { l: 8, r: 12, t: 8, b: 8 }, showlegend: legend, barmode: "overlay",
      hovermode: "closest", dragmode: coarse ? false : "zoom",
      paper_bgcolor: palette.paper, plot_bgcolor: palette.paper,
      font: { family: "system-ui, sans-serif", size: 12, color: palette.quiet },
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", xanchor: "left", font: { color: palette.text } },
      hoverlabel: {
        bgcolor: palette.page, bordercolor: palette.line, align: "left",
        font: { family: "system-ui, sans-serif", color: palette.text }
      },
      shapes: painted(panel.layout.shapes || [], palette, false),
      xaxis: axis(panel.layout.xaxis, palette), yaxis: axis(panel.layout.yaxis, palette)
    }, {
      responsive: true, displaylogo: false, displayModeBar: hover ? "hover" : false,
      showSendToCloud: false, showEditInChartStudio: false,
      modeBarButtonsToRemove: ["sendChartToCloud", "lasso2d", "select2d", "autoScale2d"],
      toImageButtonOptions: { filename: panel.id, scale: 3 }
    });
  }

  function drawAll(night) {
    var palette = night ? content.dark : content.light;
    return Promise.all(content.panels.map(function (panel) { return draw(panel, palette); }));
  }

  // The library is packed into the page. The page's policy knows the hash of its text.
  function unpacked(id) {
    var bytes = Uint8Array.from(atob(document.getElementById(id).textContent), function (c) { return c.charCodeAt(0); });
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  unpacked("plotly").then(function (text) {
    var script = document.createElement("script");
    script.textContent = text;
    document.head.appendChild(script);
    script.remove();
    dark.addEventListener("change", function (event) { drawAll(event.matches); });
    window.addEventListener("beforeprint", function () { drawAll(false); });
    window.addEventListener("afterprint", function () { drawAll(dark.matches); });
    return drawAll(dark.matches);
  }).then(function () { document.documentElement.dataset.drawn = content.panels.length; });
})();
