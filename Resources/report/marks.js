"use strict";
// Accept and reject marks of a cohort's results; they live in this window and leave it as a file.
(function () {
  const facts = JSON.parse(document.getElementById("cohort").textContent);
  const rows = Array.from(document.querySelectorAll("#results tbody tr"));
  const byId = (name) => document.getElementById(name);
  const keys = ["participant_id", "session", "tracer", "model"];
  const key = (row) => ({
    participant_id: row.dataset.participantId, session: row.dataset.session,
    tracer: row.dataset.tracer, model: row.dataset.model,
  });
  const note = (row) => row.querySelector('input[type="text"]');
  let saved = true;

  function count() {
    const number = (mark) => rows.filter((row) => row.dataset.mark === mark).length;
    const accepted = number("accept"), rejected = number("reject");
    byId("counts").textContent =
      `${accepted} accepted, ${rejected} rejected, ${rows.length - accepted - rejected} without a mark.`;
  }

  function set(row, mark) {
    if (mark) row.dataset.mark = mark; else delete row.dataset.mark;
    for (const button of row.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.set === mark));
    }
    saved = false;
    count();
  }

  function marks() {
    return rows.filter((row) => row.dataset.mark || note(row).value)
      .map((row) => Object.assign(key(row), { mark: row.dataset.mark || null, note: note(row).value }));
  }

  function give(text, type, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    saved = true;
    byId("told").textContent = `${name} was handed to the browser to save.`;
  }

  function exported() {
    return Object.assign({ kind: "relapet cohort marks", version: 1, exported: new Date().toISOString(),
      reviewer: byId("reviewer").value, results: rows.length, marks: marks() }, facts);
  }

  function tsv() {
    const cell = (value) => (value === null || value === "" ? "n/a" : String(value).replace(/[\t\r\n]+/g, " "));
    const lines = marks().map((one) => [...keys, "mark", "note"].map((name) => cell(one[name])).join("\t"));
    return [[...keys, "mark", "note"].join("\t"), ...lines].join("\n") + "\n";
  }

  async function restore(file) {
    try {
      const content = JSON.parse(await file.text());
      if (content.kind !== "relapet cohort marks" || !Array.isArray(content.marks)) throw new Error("not an export of marks");
      let found = 0;
      for (const one of content.marks) {
        const row = rows.find((candidate) => keys.every((name) => key(candidate)[name] === one[name]));
        if (!row) continue;
        found += 1;
        note(row).value = typeof one.note === "string" ? one.note : "";
        set(row, one.mark === "accept" || one.mark === "reject" ? one.mark : null);
      }
      if (typeof content.reviewer === "string") byId("reviewer").value = content.reviewer;
      const others = content.tables_sha256 === facts.tables_sha256 ? "" : " They were made on other tables.";
      byId("told").textContent = `${found} of ${content.marks.length} marks were taken over.${others}`;
    } catch (error) {
      byId("told").textContent = `${file.name} cannot be used: ${error.message}`;
    }
  }

  for (const row of rows) {
    for (const button of row.querySelectorAll("button")) {
      button.addEventListener("click", () => set(row, row.dataset.mark === button.dataset.set ? null : button.dataset.set));
    }
    note(row).addEventListener("input", () => { saved = false; });
  }
  byId("filter").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = Object.values(key(row)).join(" ").toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
  byId("export-json").addEventListener("click", () => give(JSON.stringify(exported(), null, 2), "application/json", "marks.json"));
  byId("export-tsv").addEventListener("click", () => give(tsv(), "text/tab-separated-values", "marks.tsv"));
  byId("import").addEventListener("change", (event) => { if (event.target.files[0]) restore(event.target.files[0]); });
  window.addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });
  count();
  document.documentElement.dataset.ready = "yes";
})();
