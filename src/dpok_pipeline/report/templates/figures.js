// Drawn when all is laid out, and again when a column changes its width.
var widths = new ResizeObserver(function (entries) {
  entries.forEach(function (entry) { Plotly.Plots.resize(entry.target); });
});
document.querySelectorAll(".plot").forEach(function (place) {
  var figure = JSON.parse(place.firstElementChild.textContent);
  Plotly.newPlot(place, figure.data, figure.layout, {displayModeBar: false})
    .then(function () { widths.observe(place); });
});
