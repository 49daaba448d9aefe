// One click or key decides and goes on to the next item; a refusal is shown and changes nothing. Whoever is about to
// choose a drawing sees it alone.
const panel = document.querySelector(".decision");
const field = (name) => panel.querySelector(`input[name=${name}]`);
let sending = false;

async function decide(button) {
  if (sending) return;
  const said = panel.querySelector(".said");
  const chosen = panel.querySelector("input[name=reason]:checked");
  const reason = chosen ? chosen.value : button.dataset.reason;
  if (!reason) {
    said.textContent = "Choose why it cannot be decided.";
    return;
  }
  if (!field("author").value.trim()) {
    said.textContent = "First say who you are: a decision is kept with your name.";
    return;
  }
  sending = true;
  try {
    localStorage.setItem("winnow-author", field("author").value);
    const response = await fetch("/v1/decisions", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Winnow-Token": panel.dataset.token },
      body: JSON.stringify({
        campaign: panel.dataset.campaign,
        task: Number(panel.dataset.task),
        answer: button.dataset.answer ?? null,
        reason,
        comment: field("comment").value,
        author: field("author").value,
      }),
    });
    if (response.ok) {
      location.assign(panel.dataset.next);
      return;
    }
    said.textContent = (await response.json()).error;
  } catch {
    said.textContent = "The service does not answer: nothing was kept.";
  }
  sending = false;
}

if (panel) {
  field("author").value = localStorage.getItem("winnow-author") ?? "";
  for (const button of panel.querySelectorAll("button")) button.addEventListener("click", () => decide(button));
  const drawings = document.querySelectorAll(".subject g");
  panel.querySelectorAll("[data-answer]").forEach((button, place) => {
    const show = (only) => drawings.forEach((one, other) => one.classList.toggle("hidden", only && other !== place));
    for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => show(true));
    for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => show(false));
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input:not([type=radio])");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    [...panel.querySelectorAll("[data-key]")].find((one) => one.dataset.key === event.key.toLowerCase())?.click();
  });
}
