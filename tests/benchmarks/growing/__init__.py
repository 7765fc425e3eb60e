"""The parts of the growth benchmark, the curves that they measure, and the page about them."""
