"use strict";
(function () {
  const study = JSON.parse(document.getElementById("study").textContent);
  const byId = new Map(study.pairs.map((pair) => [pair.pair, pair]));
  const place = "picture-study:" + study.study;
  const questions = {
    alignment: ["Which set shows better what the sentence says?", "Question 1 of 2"],
    quality: ["Which set has the better pictures?", "Question 2 of 2"],
  };
  const get = (id) => document.getElementById(id);
  let state = { rater: "", order: [], answers: [], downloaded: false };
  if (!study.pairs.length) return;

  // What is kept: the rater, the order of the pairs, and the answers in the order they were given.
  function load() {
    try {
      const kept = JSON.parse(localStorage.getItem(place));
      if (kept && fits(kept)) state = kept;
    } catch (error) {
      // Nothing that can be read was kept: the study begins anew.
    }
    save();
  }

  function fits(kept) {
    return Array.isArray(kept.order) && Array.isArray(kept.answers) && typeof kept.rater === "string" &&
      (kept.order.length === 0 || (kept.order.length === byId.size && new Set(kept.order).size === byId.size)) &&
      kept.order.every((id) => byId.has(id)) &&
      kept.answers.length <= 2 * kept.order.length &&
      kept.answers.every((answer) => ["left", "tie", "right"].includes(answer));
  }

  function save() {
    try {
      localStorage.setItem(place, JSON.stringify(state));
      get("notice").hidden = localStorage.getItem(place) !== null;
    } catch (error) {
      get("notice").hidden = false;
    }
  }

  function shuffled(items) {
    const list = items.slice();
    for (let end = list.length - 1; end > 0; end--) {
      const other = Math.floor(Math.random() * (end + 1));
      [list[end], list[other]] = [list[other], list[end]];
    }
    return list;
  }

  function current() {
    const answered = state.answers.length;
    return { pair: byId.get(state.order[Math.floor(answered / 2)]), question: study.questions[answered % 2] };
  }

  function show() {
    const finished = state.order.length > 0 && state.answers.length === 2 * state.order.length;
    const screen = !state.order.length ? "intro" : finished ? "done" : "vote";
    for (const id of ["intro", "vote", "done"]) get(id).hidden = id !== screen;
    if (screen === "vote") showQuestion();
    if (screen === "done") get("saved").textContent = "";
    if (screen !== "intro") {
      get(screen).querySelector("h1").focus({ preventScroll: true });
      window.scrollTo(0, 0);
    }
  }

  function showQuestion() {
    const { pair, question } = current();
    const [text, step] = questions[question];
    get("vote").dataset.question = question;
    get("count").textContent = "Pair " + (Math.floor(state.answers.length / 2) + 1) + " of " + state.order.length;
    get("progress").value = state.answers.length;
    get("undo").disabled = get("undo").hidden = state.answers.length === 0;
    get("prompt").textContent = "“" + pair.prompt + "”";
    get("prompt").classList.toggle("long", pair.prompt.length > 90);
    const small = document.createElement("span");
    small.textContent = step + " · ";
    get("question").replaceChildren(small, text);
    for (const side of ["left", "right"]) fill(get(side + "-set"), pair[side], side);
  }

  function fill(button, images, side) {
    // The second question is about the same pictures: they stay, and do not flicker.
    if (button.dataset.shown === images[0] + side) return;
    button.dataset.shown = images[0] + side;
    button.replaceChildren(...images.map((source, number) => {
      const image = new Image();
      image.src = source;
      image.alt = "Picture " + (number + 1) + " of the " + side + " set";
      return image;
    }));
  }

  function vote(choice) {
    state.answers.push(choice);
    state.downloaded = false;
    save();
    // Shows what was taken, without making anybody wait for it.
    const button = document.querySelector("[data-choice=" + choice + "]");
    button.classList.add("chosen");
    setTimeout(() => button.classList.remove("chosen"), 180);
    show();
  }

  function undo() {
    if (!state.answers.length) return;
    state.answers.pop();
    save();
    show();
  }

  function begin(event) {
    event.preventDefault();
    const name = get("rater").value.trim();
    get("rater").setAttribute("aria-invalid", String(!name));
    if (!name) {
      get("hint").textContent = "Please give a name: any that you will not share with another person.";
      get("rater").focus();
      return;
    }
    state = { rater: name, order: shuffled([...byId.keys()]), answers: [], downloaded: false };
    save();
    show();
  }

  function download() {
    const votes = state.order.map((pair, number) => ({
      pair: pair,
      [study.questions[0]]: state.answers[2 * number],
      [study.questions[1]]: state.answers[2 * number + 1],
    }));
    const content = { format: study.format, study: study.study, rater: state.rater, votes: votes };
    const slug = state.rater.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "rater";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }));
    link.download = "votes-" + study.study + "-" + slug + ".json";
    document.body.append(link);
    link.click();
    link.remove();
    state.downloaded = true;
    save();
    get("saved").textContent = "Saved as " + link.download + ". Please send this file.";
  }

  function next() {
    const warning = state.downloaded
      ? "Remove your answers from this device and begin anew?"
      : "Your answers have not been downloaded. Remove them from this device all the same?";
    if (!confirm(warning)) return;
    state = { rater: "", order: [], answers: [], downloaded: false };
    get("rater").value = "";
    save();
    show();
    get("rater").focus();
  }

  function enlarge(side) {
    const large = get("large-set");
    large.dataset.shown = "";
    fill(large, current().pair[side], side);
    get("large").showModal();
  }

  const keys = {
    ArrowLeft: () => vote("left"), ArrowRight: () => vote("right"), ArrowDown: () => vote("tie"), ArrowUp: undo,
  };
  document.addEventListener("keydown", (event) => {
    const action = keys[event.key];
    if (!action || event.repeat || event.ctrlKey || event.altKey || event.metaKey || get("large").open) return;
    if (!get("vote").hidden) {
      event.preventDefault();
      action();
    } else if (!get("done").hidden && event.key === "ArrowUp") {
      event.preventDefault();
      undo();
    }
  });
  document.querySelectorAll("[data-choice]").forEach((button) => {
    button.addEventListener("click", () => vote(button.dataset.choice));
  });
  // Another tab with this study must not write over what was answered here.
  window.addEventListener("storage", (event) => {
    if (event.key !== place || !event.newValue) return;
    const kept = JSON.parse(event.newValue);
    if (fits(kept)) {
      state = kept;
      show();
    }
  });
  get("left-set").addEventListener("click", () => enlarge("left"));
  get("right-set").addEventListener("click", () => enlarge("right"));
  get("large").addEventListener("click", () => get("large").close());
  get("undo").addEventListener("click", undo);
  get("back").addEventListener("click", undo);
  get("start").addEventListener("submit", begin);
  get("download").addEventListener("click", download);
  get("next").addEventListener("click", next);
  load();
  show();
})();
