"""Moving in: an Orthanc's settings, images and what people added to them; the images of any archive that answers
queries."""
