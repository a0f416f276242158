/* The page: charts, light and dark, paper. */
(function () {
  const data = JSON.parse(document.getElementById("timelines").textContent);
  const charts = data.map((chart, index) => new Chart(document.getElementById("chart-" + index), chart, "c" + index));

  const root = document.documentElement;
  const button = document.getElementById("theme");
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const label = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours");
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    label();
  });
  prefersDark.addEventListener("change", label);
  label();
  button.hidden = false;

  /* On paper everything is open, and goes back to how it was. */
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")].filter((part) => !part.parentElement.closest("details"));
    closed.forEach((part) => { part.open = true; });
    charts.forEach((chart) => chart.draw());
  });
  window.addEventListener("afterprint", () => {
    closed.forEach((part) => { part.open = false; });
    charts.forEach((chart) => chart.draw());
  });
  root.dataset.ready = "1";
})();
