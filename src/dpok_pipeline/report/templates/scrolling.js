// What is wider than the page scrolls by itself, by keyboard, too.
(function () {
  var widths = new ResizeObserver(function (entries) {
    entries.forEach(function (entry) {
      var place = entry.target, wide = place.scrollWidth > place.clientWidth;
      if (wide) place.setAttribute("tabindex", "0");
      else place.removeAttribute("tabindex");
    });
  });
  document.querySelectorAll(".scroll").forEach(function (place) { widths.observe(place); });
})();
