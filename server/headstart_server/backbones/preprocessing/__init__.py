"""From images and texts to the arrays that networks take."""
