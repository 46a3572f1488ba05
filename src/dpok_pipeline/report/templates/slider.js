// Two pictures of the same noise with a line between them, taken from the grids further down.
(function () {
  var slider = document.querySelector(".slider");
  if (!slider) return;
  var stage = slider.querySelector(".stage"), range = stage.querySelector("input");
  var prompt = slider.querySelector("select.prompt"), thumbs = slider.querySelector(".thumbs");
  var sides = ["left", "right"], noise = 0;

  function choice(side) { return slider.querySelector("select." + side); }

  function label(side) { return choice(side).selectedOptions[0].textContent; }

  function shots(method) {
    var row = document.querySelector("#" + prompt.value + ' tr[data-method="' + method + '"]');
    return row ? Array.from(row.querySelectorAll(".shot")) : [];
  }

  function move() {
    stage.style.setProperty("--at", range.value + "%");
    range.setAttribute("aria-valuetext",
      range.value + " % " + label("left") + ", " + (100 - range.value) + " % " + label("right"));
  }

  // The noises, as the right-hand method draws them: a group of radio buttons has the arrow keys.
  function fill() {
    var right = shots(choice("right").value);
    noise = Math.min(noise, Math.max(right.length - 1, 0));
    thumbs.replaceChildren.apply(thumbs, right.map(function (shot, place) {
      var holder = document.createElement("label"), radio = document.createElement("input"), image = new Image();
      radio.type = "radio";
      radio.name = "noise";
      radio.checked = place === noise;
      radio.setAttribute("aria-label", shot.dataset.title);
      radio.addEventListener("change", function () { noise = place; show(); });
      image.src = shot.querySelector("img").src;
      image.alt = "";
      holder.append(radio, image);
      return holder;
    }));
    show();
  }

  function show() {
    var said = [], rows = new Map();
    sides.forEach(function (side) {
      var shot = shots(choice(side).value)[noise], image = stage.querySelector("img." + side);
      image.hidden = !shot;
      stage.querySelector(".tag." + side).textContent = label(side);
      slider.querySelector(".versus th." + side).textContent = label(side);
      if (!shot) return;
      image.src = shot.querySelector("img").src;
      image.alt = shot.querySelector("img").alt;
      said.push(image.alt);
      JSON.parse(shot.dataset.scores).forEach(function (score) {
        if (!rows.has(score[0])) rows.set(score[0], {});
        rows.get(score[0])[side] = score[1];
      });
    });
    slider.querySelector(".versus tbody").replaceChildren.apply(slider.querySelector(".versus tbody"),
      Array.from(rows, function (row) {
        var line = document.createElement("tr"), head = document.createElement("th");
        head.scope = "row";
        head.textContent = row[0];
        line.append(head);
        sides.forEach(function (side) {
          line.append(Object.assign(document.createElement("td"), { textContent: row[1][side] || "–" }));
        });
        return line;
      }));
    slider.querySelector("[role=status]").textContent = said.join(". ");
    move();
  }

  function drag(event) {
    var at = stage.getBoundingClientRect();
    range.value = Math.round(100 * (event.clientX - at.left) / at.width);
    move();
  }

  stage.addEventListener("pointerdown", function (event) {
    event.preventDefault();
    range.focus({ preventScroll: true });
    stage.setPointerCapture(event.pointerId);
    drag(event);
  });
  stage.addEventListener("pointermove", function (event) {
    if (stage.hasPointerCapture(event.pointerId)) drag(event);
  });
  range.addEventListener("input", move);
  prompt.addEventListener("change", fill);
  sides.forEach(function (side) { choice(side).addEventListener("change", fill); });
  slider.hidden = false;
  fill();
})();
