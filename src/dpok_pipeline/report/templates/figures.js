// Figures are data, drawn once all is laid out, again when a column changes its width, and in
// other colours on dark paper.
(function () {
  var dark = JSON.parse(document.getElementById("dark-colours").textContent);
  var pattern = new RegExp(
    Object.keys(dark).map(function (one) { return one.replace(/[().]/g, "\\$&"); }).join("|"), "gi");
  var places = Array.from(document.querySelectorAll(".plot"));
  var figures = new Map(places.map(function (place) {
    var figure = JSON.parse(place.querySelector("script").textContent);
    return [place, figure];
  }));

  // A copy, in the colours of the page as it is: colours are values, or within the tags of a label.
  function coloured(value) {
    if (typeof value === "string") {
      return theme.isDark() ? value.replace(pattern, function (one) { return dark[one.toLowerCase()]; }) : value;
    }
    if (Array.isArray(value)) return value.map(coloured);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(function (pair) { return [pair[0], coloured(pair[1])]; }));
  }

  function draw(place) {
    var figure = figures.get(place), layout = coloured(figure.layout);
    layout.width = place.clientWidth || undefined;
    return Plotly.react(place, coloured(figure.data), layout, { displayModeBar: false });
  }

  var widths = new ResizeObserver(function (entries) {
    entries.forEach(function (entry) {
      // What is folded away has no width.
      if (entry.contentRect.width && !theme.isPrinting()) draw(entry.target);
    });
  });
  places.forEach(function (place) { draw(place).then(function () { widths.observe(place); }); });
  document.addEventListener("themechange", function () { places.forEach(draw); });
})();
