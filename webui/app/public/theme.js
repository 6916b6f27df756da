// Before the first paint: the theme that was chosen here, else the system's.
(function () {
  var t = null;
  try {
    t = localStorage.getItem("wasmbed.theme");
  } catch (e) {
    // storage may be forbidden; then the system's theme it is
  }
  if (t !== "dark" && t !== "light") t = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.theme = t;
})();
