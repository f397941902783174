// Shows the samples of a report: filters them, a page of cards at a time, and one in full.
// Everything that was written by a model, a file or a judge goes in as text (textContent).
"use strict";
(() => {
  const PAGE = 24;
  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filter");
  const cards = document.getElementById("cards");
  const pager = document.getElementById("pager");
  const dialog = document.getElementById("sample");
  const chunks = new Map();
  let found = [];
  let page = 0;

  const SHOW = {
    all: ["Everything", () => true],
    right: ["Right", (answer) => answer.right >= 1],
    wrong: ["Not right", (answer) => answer.right !== null && answer.right < 1],
    unread: ["Could not be read", (answer) => answer.read === null],
    disagree: ["Models disagree", (answer, sample) => differ(sample.answers)],
    blind: ["Right without looking", (answer) => answer.right >= 1 && seenBlind(answer)],
    seen: ["Right only with the picture", (answer) => answer.right >= 1 && missedBlind(answer)],
  };
  const ORDER = {
    file: ["As asked", null],
    low: ["Lowest first", (one, other) => one - other],
    high: ["Highest first", (one, other) => other - one],
  };

  function count(number) {
    return number.toLocaleString("en");
  }

  function element(name, className, text) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function worth(answer) {
    const right = answer.right ?? null;
    return right === null ? answer.value ?? null : 100 * right;
  }

  function differ(answers) {
    const values = answers.map((a) => a.right ?? a.read ?? a.text);
    return new Set(values).size > 1;
  }

  function blinds(answer) {
    return Object.values(answer.controls).map((control) => control.right ?? null);
  }

  function seenBlind(answer) {
    return blinds(answer).some((right) => right !== null && right >= 1);
  }

  function missedBlind(answer) {
    const all = blinds(answer);
    return all.length > 0 && all.every((right) => right !== null && right < 1);
  }

  function benchmark() {
    return data.benchmarks[Number(form.benchmark.value)];
  }

  // The picture of a number; its chunk is read when the first of its pictures is shown.
  function picture(number) {
    const chunk = Math.floor(number / data.chunk);
    if (!chunks.has(chunk)) {
      const element = document.getElementById("pictures-" + chunk);
      chunks.set(chunk, JSON.parse(element.textContent));
    }
    return chunks.get(chunk)[number % data.chunk];
  }

  function shot(sample, all) {
    const box = element("div", "shot");
    for (const number of all ? sample.pictures : sample.pictures.slice(0, 2)) {
      const source = number === null ? "" : picture(number);
      if (!source) {
        box.append(element("span", "gone", "picture not there"));
        continue;
      }
      const image = element("img");
      image.alt = "";
      image.decoding = "async";
      image.onload = () => image.classList.toggle("tiny", image.naturalWidth <= 64);
      image.src = source;
      box.append(image);
    }
    return box;
  }

  function verdict(answer) {
    const right = answer.right ?? null;
    if (right !== null) {
      if (right >= 1) return element("span", "verdict right", "right");
      if (right <= 0) return element("span", "verdict wrong", "wrong");
      return element("span", "verdict part", Math.round(100 * right) + " % right");
    }
    if ((answer.value ?? null) !== null) return element("span", "verdict", answer.value.toFixed(1));
    return element("span", "verdict", answer.read === undefined ? "not judged" : "no value");
  }

  function said(name, answer) {
    const line = element("div", "answer");
    const words = element("span", "words");
    if (name) words.append(element("span", "who", name + ": "));
    // Of a long answer, what was understood of it.
    const read = answer.read ?? "";
    if (read && read.length < 30 && answer.text.length > 60 && answer.judge === undefined) {
      words.append(element("span", "read", read), " - ");
    }
    words.append(answer.text || "(nothing)");
    line.append(verdict(answer), words);
    return line;
  }

  function references(sample) {
    const graded = sample.answers.some((answer) => (answer.right ?? null) !== null);
    const name = graded ? "true: " : "reference: ";
    return sample.references.length ? name + sample.references.join(" | ") : "";
  }

  function card(place) {
    const { models } = benchmark();
    const sample = found[place];
    const box = element("article", "card");
    if (sample.pictures.length) box.append(shot(sample, false));
    const inner = element("div", "inner");
    const open = element("button", "open", sample.question || sample.id);
    open.type = "button";
    const answers = element("div", "said");
    sample.answers.forEach((answer, at) => {
      answers.append(said(models.length > 1 ? models[at] : "", answer));
    });
    inner.append(open, answers, element("div", "true", references(sample)));
    box.append(inner);
    box.onclick = () => show(place);
    return box;
  }

  function part(title, text, answer) {
    const heading = element("h4", "", title);
    if (answer) heading.append(verdict(answer));
    return [heading, element("pre", "", text)];
  }

  function inFull(sample) {
    const { models, labels } = benchmark();
    const words = element("div", sample.pictures.length ? "" : "full");
    const title = element("h3", "", sample.question);
    title.id = "sample-title";
    words.append(title);
    if (!sample.options.every((option) => sample.question.includes(option))) {
      sample.options.forEach((option, at) => {
        words.append(element("div", "", String.fromCharCode(65 + at) + ". " + option));
      });
    }
    if (sample.references.length) words.append(...part("Held against", sample.references.join("\n")));
    sample.answers.forEach((answer, at) => {
      words.append(...part(models[at], answer.text || "(nothing)", answer));
      answer.runs.forEach((run, number) => {
        words.append(...part(`${models[at]}, run ${number + 2}`, run.text || "(nothing)", run));
      });
      for (const [name, control] of Object.entries(answer.controls)) {
        const given = name === "blank" ? "grey pictures" : "other pictures";
        words.append(...part(`${models[at]}, ${given}`, control.text || "(nothing)", control));
      }
      if (answer.judge) words.append(...part(`The judge on ${models[at]}`, answer.judge));
    });
    const named = sample.labels.map((label) => labels[label]).join(", ");
    if (named) words.append(...part("Category", named));
    return words;
  }

  function button(text, act, enabled) {
    const made = element("button", "", text);
    made.type = "button";
    made.disabled = !enabled;
    made.onclick = act;
    return made;
  }

  function show(place) {
    const sample = found[place];
    const bar = element("div", "bar");
    const close = button("Close", () => dialog.close(), true);
    bar.append(
      button("Before", () => show(place - 1), place > 0),
      button("Next", () => show(place + 1), place + 1 < found.length),
      element("span", "space", `${count(place + 1)} of ${count(found.length)}, question ${sample.id}`),
      close,
    );
    const inside = element("div", "inside");
    if (sample.pictures.length) inside.append(shot(sample, true));
    inside.append(inFull(sample));
    dialog.replaceChildren(bar, inside);
    dialog.onkeydown = (event) => {
      if (event.key === "ArrowLeft" && place > 0) show(place - 1);
      if (event.key === "ArrowRight" && place + 1 < found.length) show(place + 1);
    };
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    close.focus({ preventScroll: true });
  }

  function turn(to) {
    page = to;
    const first = page * PAGE;
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    const shown = found.slice(first, first + PAGE);
    cards.replaceChildren(...shown.map((_, at) => card(first + at)));
    pager.hidden = pages < 2;
    pager.replaceChildren(
      button("Before", () => leaf(page - 1), page > 0),
      element("span", "quiet", `Page ${page + 1} of ${pages}`),
      button("Next", () => leaf(page + 1), page + 1 < pages),
    );
  }

  function leaf(to) {
    turn(to);
    form.scrollIntoView();
  }

  function select() {
    const { samples, total } = benchmark();
    const model = Number(form.model.value);
    const label = form.label.value === "" ? null : Number(form.label.value);
    const words = form.words.value.trim().toLowerCase();
    const [, wanted] = SHOW[form.show.value];
    const [, order] = ORDER[form.order.value];
    found = samples.filter((sample) => {
      if (label !== null && !sample.labels.includes(label)) return false;
      if (!wanted(sample.answers[model], sample)) return false;
      return !words || spoken(sample).includes(words);
    });
    if (order) {
      const value = (sample) => worth(sample.answers[model]) ?? Infinity;
      found.sort((one, other) => order(value(one), value(other)) || 0);
    }
    const rest = total > samples.length ? `; ${count(total)} were asked` : "";
    document.getElementById("count").textContent =
      `${count(found.length)} of ${count(samples.length)} samples${rest}`;
    turn(0);
  }

  function spoken(sample) {
    sample.spoken ??= [sample.id, sample.question, ...sample.references]
      .concat(sample.answers.map((answer) => answer.text)).join("\n").toLowerCase();
    return sample.spoken;
  }

  function options(field, pairs) {
    form[field].replaceChildren(...pairs.map(([value, text]) => new Option(text, value)));
    form[field].closest("label").hidden = pairs.length < 2;
  }

  // What can be chosen follows from the benchmark: nothing is offered that nothing has.
  function begin() {
    const { models, labels, samples } = benchmark();
    options("label", [["", "All"], ...labels.map((label, at) => [at, label])]);
    options("model", models.map((model, at) => [at, model]));
    const first = samples[0]?.answers ?? [];
    const graded = first.some((answer) => (answer.right ?? null) !== null);
    const judged = first.some((answer) => answer.read !== undefined);
    const controlled = first.some((answer) => Object.keys(answer.controls).length);
    const offered = Object.entries(SHOW).filter(([name]) => {
      if (name === "right" || name === "wrong") return graded;
      if (name === "blind" || name === "seen") return graded && controlled;
      if (name === "unread") return judged;
      return name === "all" || models.length > 1;
    });
    options("show", offered.map(([name, [text]]) => [name, text]));
    options("order", Object.entries(ORDER).map(([name, [text]]) => [name, text]));
    select();
  }

  // The radar's legend shows and hides outlines.
  document.querySelectorAll(".radar input").forEach((box) => {
    const lines = box.closest("figure").querySelectorAll("polygon");
    box.onchange = () => lines.forEach((line) => {
      if (line.dataset.outline === box.dataset.outline) line.toggleAttribute("hidden", !box.checked);
    });
  });

  const filled = data.benchmarks.flatMap(({ name, models, samples }, at) => {
    return models.length && samples.length ? [[at, name]] : [];
  });
  if (filled.length) {
    form.hidden = false;
    options("benchmark", filled);
    form.onsubmit = (event) => event.preventDefault();
    form.onchange = (event) => (event.target === form.benchmark ? begin() : select());
    let pause;
    form.words.oninput = () => {
      clearTimeout(pause);
      pause = setTimeout(select, 150);
    };
    begin();
  } else {
    document.getElementById("count").textContent = "No answers yet.";
  }
  performance.mark("samples-shown");
})();
