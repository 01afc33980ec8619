"""What is done with a study's tables as they are written: values replaced, modules found, mistakes put into words."""
