//! Recipes: what kind of project a directory holds, and the image plan that follows from it.
