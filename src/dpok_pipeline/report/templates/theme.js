// In the head, so that a page that was set to dark does not flash white first. What else depends
// on the colours listens for `themechange`.
var theme = (function () {
  var root = document.documentElement, place = "report-theme";
  var system = matchMedia("(prefers-color-scheme: dark)"), printing = false;

  function isDark() {
    return !printing && (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  }

  function changed() {
    document.querySelectorAll(".theme").forEach(function (button) {
      button.hidden = false;
      button.textContent = isDark() ? "Light page" : "Dark page";
    });
    document.dispatchEvent(new Event("themechange"));
  }

  // Some browsers keep nothing for a file, or at all.
  try {
    var kept = localStorage.getItem(place);
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  } catch (error) {}
  system.addEventListener("change", changed);
  document.addEventListener("click", function (event) {
    if (!event.target.closest(".theme")) return;
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem(place, root.dataset.theme); } catch (error) {}
    changed();
  });
  document.addEventListener("DOMContentLoaded", changed);

  // Paper is white, and shows what is folded.
  var folded = [];
  addEventListener("beforeprint", function () {
    printing = true;
    root.classList.add("printing");
    folded = Array.from(document.querySelectorAll("details:not([open])"));
    folded.forEach(function (one) { one.open = true; });
    changed();
  });
  addEventListener("afterprint", function () {
    printing = false;
    root.classList.remove("printing");
    folded.forEach(function (one) { one.open = false; });
    changed();
  });
  return { isDark: isDark, isPrinting: function () { return printing; } };
})();
