"use strict";
const selects = [...document.querySelectorAll("#filter select")];
const listed = (element, key) => (element.dataset[key] || "").split("|");
function apply() {
  const wanted = selects.map((select) => [select.name, select.value]).filter((pair) => pair[1]);
  let shown = 0;
  for (const element of document.querySelectorAll("[data-function]")) {
    element.hidden = !wanted.every(([key, value]) => listed(element, key).includes(value));
    shown += element.matches("tr") && !element.hidden;
  }
  for (const part of document.querySelectorAll("[data-part]")) {
    const [key, value] = part.dataset.part.split("|");
    const differs = wanted.some((pair) => pair[0] === key && pair[1] !== value);
    part.style.display = value && differs ? "none" : "";
  }
  for (const group of document.querySelectorAll("details")) {
    const any = group.querySelector("[data-function]:not([hidden])");
    group.hidden = !any;
    if (wanted.length && shown < 60) group.open = Boolean(any);
  }
  document.getElementById("shown").textContent = shown;
}
selects.forEach((select) => select.addEventListener("change", apply));
document.getElementById("reset").addEventListener("click", () => {
  selects.forEach((select) => (select.value = ""));
  apply();
});
apply();
