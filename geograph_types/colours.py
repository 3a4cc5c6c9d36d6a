"""The colours of all pictures: Okabe and Ito (2008), which colour-blind people can tell apart."""

# One a class, in class order; pictures add dashes or marks, so that colour is not all there is. The page has its own
# in space/page.css, darker, since text and thin lines on a screen need more contrast.
COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000"]
BLUE, ORANGE, GREEN, _, _, RED, _ = COLOURS
