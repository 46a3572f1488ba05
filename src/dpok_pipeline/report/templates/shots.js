// Pictures: all scores at the pointer or at the focus, and a large view beside the base model's.
(function () {
  var tip = document.querySelector(".tip"), large = document.querySelector(".large");

  // A picture is in the page once; where it is shown again, it is taken from there.
  document.querySelectorAll("img[data-from]").forEach(function (image) {
    var first = document.getElementById(image.dataset.from);
    if (first) image.src = first.src;
  });

  function make(name, text) {
    var element = document.createElement(name);
    element.textContent = text || "";
    return element;
  }

  function scores(shot) {
    var list = make("dl");
    JSON.parse(shot.dataset.scores).forEach(function (score) {
      list.append(make("dt", score[0]), make("dd", score[1]));
    });
    return list;
  }

  function show(shot) {
    tip.replaceChildren(make("b", shot.dataset.title), scores(shot));
    tip.hidden = false;
    var at = shot.getBoundingClientRect(), size = tip.getBoundingClientRect();
    var left = at.left + at.width / 2 - size.width / 2;
    var above = at.top - size.height - 8;
    tip.style.left = Math.max(8, Math.min(left, document.documentElement.clientWidth - size.width - 8)) + "px";
    tip.style.top = (above < 8 ? at.bottom + 8 : above) + "px";
  }

  function hide() { tip.hidden = true; }

  function view(shot) {
    var image = shot.querySelector("img"), base = document.getElementById(shot.dataset.base);
    var shots = base ? [base.closest(".shot"), shot] : [shot];
    large.querySelector("h2").textContent = "“" + shot.dataset.prompt + "”";
    large.querySelector(".both").replaceChildren.apply(large.querySelector(".both"), shots.map(function (one) {
      var figure = make("figure"), picture = new Image(), shown = one.querySelector("img");
      picture.src = shown.src;
      picture.alt = shown.alt;
      figure.append(make("figcaption", one.dataset.title), picture, scores(one));
      return figure;
    }));
    hide();
    large.showModal();
  }

  function shotOf(event) { return event.target.closest ? event.target.closest(".shot") : null; }

  // The shot that has the focus, if it was reached by keyboard: its scores stay while the page moves.
  function focused() { return document.activeElement.closest(".shot:focus-visible"); }

  function rest() {
    var shot = focused();
    if (shot) show(shot); else hide();
  }

  document.addEventListener("pointerover", function (event) {
    if (event.pointerType !== "mouse") return;
    var shot = shotOf(event);
    if (shot) show(shot); else rest();
  });
  document.addEventListener("focusin", rest);
  document.addEventListener("focusout", hide);
  addEventListener("scroll", function () { if (!tip.hidden) rest(); }, true);
  document.addEventListener("click", function (event) {
    var shot = shotOf(event);
    if (shot) view(shot);
    else if (event.target === large || event.target.closest(".large header button")) large.close();
  });

  // One stop for the tab key in each group; the arrow keys go from picture to picture.
  document.querySelectorAll(".shots").forEach(function (group) {
    var shots = Array.from(group.querySelectorAll(".shot"));
    var first = shots[0] && shots[0].closest("tr");
    var across = first ? first.querySelectorAll(".shot").length : 1;
    shots.forEach(function (shot, place) { shot.tabIndex = place ? -1 : 0; });
    group.addEventListener("keydown", function (event) {
      if (event.key === "Escape") return hide();
      var steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across };
      var at = shots.indexOf(shotOf(event)), next = shots[at + steps[event.key]];
      if (at < 0 || !(event.key in steps)) return;
      event.preventDefault();
      if (!next) return;
      shots[at].tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  });
})();
