"use strict";
const sections = [/* sections */];
const box = document.getElementById("words");
const found = document.getElementById("found");

// rank is how well a section fits the words; 0 if it lacks one of them.
function rank(section, words) {
  const heading = (section.title + " " + section.heading).toLowerCase();
  const text = section.text.toLowerCase();
  let sum = 0;
  for (const word of words) {
    const points = (heading.includes(word) ? 10 : 0) + (text.includes(word) ? 1 : 0);
    if (points === 0) return 0;
    sum += points;
  }
  return sum;
}

// excerpt is the text around the first of the words.
function excerpt(text, words) {
  const at = Math.max(0, ...words.map((word) => text.toLowerCase().indexOf(word)));
  const from = Math.max(0, at - 40);
  return (from > 0 ? "…" : "") + text.slice(from, from + 120) + "…";
}

function show() {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = words.length === 0 ? [] : sections
    .map((section) => ({ section, points: rank(section, words) }))
    .filter((hit) => hit.points > 0)
    .sort((a, b) => b.points - a.points)
    .slice(0, 12);
  found.hidden = words.length === 0;
  found.replaceChildren(...hits.map(({ section }) => {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = section.page;
    link.textContent = section.heading ? section.title + ": " + section.heading : section.title;
    const text = document.createElement("small");
    text.textContent = excerpt(section.text, words);
    item.append(link, text);
    return item;
  }));
  if (words.length > 0 && hits.length === 0) found.textContent = "Nothing has all of these words.";
}

box.addEventListener("input", show);
box.form.addEventListener("submit", (event) => {
  event.preventDefault();
  found.querySelector("a")?.click();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== box) {
    event.preventDefault();
    box.focus();
  }
});
